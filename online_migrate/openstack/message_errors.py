"""The errors of RPC messages and versioned objects; see :mod:`online_migrate.exceptions`."""

from __future__ import annotations

from online_migrate.exceptions import ExtraMissing, Refused

try:
    import oslo_messaging
except ImportError as error:
    raise ExtraMissing(module=__name__, reason=error, extra="openstack") from error


class _CapError(oslo_messaging.RPCVersionCapError):  # type: ignore[misc]  # the library has no types
    """The error of the library, with the message of the engine."""

    def __init__(self, message: str) -> None:
        Exception.__init__(self, message)


class MessageTooNew(Refused, _CapError):
    """{method} in version {version} cannot be sent: {cap_of} is {version_cap}."""

    default_hint = "send an older form while can_send({version!r}) is False"
