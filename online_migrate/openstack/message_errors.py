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


class ManifestUnknown(Refused):
    """This release does not know manifest {version}, to which objects are pinned; it knows {known}."""

    default_hint = "stop the processes of the release that reports it, or add the manifest of that release"


class ObjectUnknown(Refused):
    """Object {object} is not known to {to}."""


class ObjectTooNew(Refused):
    """Object {object} {version} is too new for {to}: {reason}"""


class ChangeLost(Refused):
    """Changed field(s) {fields} of {object} {version} would not be saved by a process that has {old} instead:
    they are missing in {pinned}."""

    default_hint = "declare the move: class {object}(MovedFields, ...) with moved_fields = (MovedField(...),)"
