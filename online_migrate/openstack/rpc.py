"""An RPC client of oslo.messaging that sends each message in a version which every live server understands.

Invariant: a message is sent only in a version that the pin allows at that moment, whether it is a call or a
cast. oslo.messaging accepts a cast that no server understands, and the server drops it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from online_migrate.exceptions import ExtraMissing, UsageError
from online_migrate.openstack.message_errors import MessageTooNew

try:
    import oslo_messaging
except ImportError as error:
    raise ExtraMissing(module=__name__, reason=error, extra="openstack") from error

if TYPE_CHECKING:
    from online_migrate.services import Pins

__all__ = ["MessageTooNew", "PinnedClient", "PinnedMessage"]


class PinnedClient:
    """An :class:`oslo_messaging.RPCClient` with a pin. One object serves all threads of a process.

    *client*: the result of ``oslo_messaging.get_rpc_client``. If it has a ``version_cap``, a message must be
    allowed by that as well. *name*: the name of the pin, which the servers report to the registry as the
    version of their endpoint, for example ``{"volume-rpc": "1.4"}``.

    All methods that send raise :class:`MessageTooNew`, and what :meth:`~online_migrate.services.Pins.pin`
    raises.
    """

    def __init__(self, client: oslo_messaging.RPCClient, pins: Pins, name: str) -> None:
        self._client = client
        self._pins = pins
        self._name = name

    def can_send(self, version: str) -> bool:
        """Returns True if a message in this version can be sent now."""
        return self.prepare(version=version).can_send_version()

    def can_send_version(self, version: str | None = None) -> bool:
        """Does the same under the name of oslo.messaging; default: the version of the client's target."""
        return self.prepare().can_send_version(version)

    def prepare(self, **options: Any) -> PinnedMessage:
        """Returns a message with these *options*, which are those of ``RPCClient.prepare``."""
        return PinnedMessage(self._client, self._pins, self._name, options)

    def call(self, ctxt: Any, method: str, *, version: str | None = None, **arguments: Any) -> Any:
        """Sends a message and returns the result of *method*.

        *version*: of the message; default: that of the client's target. If *method* has an argument
        ``version`` itself: ``prepare(version=...).call(...)``.
        """
        return self._versioned(version).call(ctxt, method, **arguments)

    def cast(self, ctxt: Any, method: str, *, version: str | None = None, **arguments: Any) -> None:
        """Sends a message without waiting for a result. *version*: as for :meth:`call`."""
        self._versioned(version).cast(ctxt, method, **arguments)

    def _versioned(self, version: str | None) -> PinnedMessage:
        return self.prepare() if version is None else self.prepare(version=version)


class PinnedMessage:
    """What is sent, and to which target. The pin is looked up when the message is sent."""

    def __init__(
        self, client: oslo_messaging.RPCClient, pins: Pins, name: str, options: dict[str, Any]
    ) -> None:
        if "version_cap" in options:
            raise UsageError(message=f"version_cap cannot be given: it is the pin of {name}")
        self._client = client
        self._pins = pins
        self._name = name
        self._options = options

    @property
    def target(self) -> oslo_messaging.Target:
        """The target, with the version of the message."""
        return self._client.prepare(**self._options).target

    def prepare(self, **options: Any) -> PinnedMessage:
        """Returns a message with these *options* instead of, or in addition to, those it has."""
        return PinnedMessage(self._client, self._pins, self._name, self._options | options)

    def can_send_version(self, version: str | None = None) -> bool:
        """Returns True if the message can be sent now; *version*: instead of its own."""
        message = self if version is None else self.prepare(version=version)
        return message._refusing(self._caps()) is None

    def call(self, ctxt: Any, method: str, **arguments: Any) -> Any:
        """Sends the message and returns the result of *method*."""
        return self._checked(method).call(ctxt, method, **arguments)

    def cast(self, ctxt: Any, method: str, **arguments: Any) -> None:
        """Sends the message without waiting for a result."""
        self._checked(method).cast(ctxt, method, **arguments)

    def _checked(self, method: str) -> Any:
        caps = self._caps()
        refusing = self._refusing(caps)
        if refusing is not None:
            cap_of, cap = refusing
            raise MessageTooNew(method=method, version=self._version, cap_of=cap_of, version_cap=cap)
        pin = caps[0][1]
        return self._client.prepare(**self._options, version_cap=pin)

    def _caps(self) -> list[tuple[str, str]]:
        """Returns the pin, and the cap of the client if it has one, each with a name for messages."""
        pin = self._pins.pin(self._name)
        if pin.count(".") not in (1, 2):
            raise UsageError(
                message=f"the pin of {self._name} is {pin}, which is no MAJOR.MINOR of an RPC API"
            )
        caps = [(f"the pin of {self._name}", pin)]
        if self._client.version_cap is not None:
            caps.append(("the version_cap of the client", self._client.version_cap))
        return caps

    def _refusing(self, caps: list[tuple[str, str]]) -> tuple[str, str] | None:
        """Returns the cap that does not allow the message; None if there is none."""
        if self._version is None:
            raise UsageError(
                message="the message has no version", hint="give version=..., or a Target with a version"
            )
        for name, cap in caps:
            if not self._client.prepare(**self._options, version_cap=cap).can_send_version():
                return name, cap
        return None

    @property
    def _version(self) -> str | None:
        version: str | None = self.target.version
        return version
