"""The errors of services; see :mod:`online_migrate.exceptions` for what the docstrings mean."""

from __future__ import annotations

from online_migrate.exceptions import Refused, UsageError


class ServiceBroken(UsageError):
    """The heartbeat of service {service!r} cannot be started: {reason}"""


class UnknownService(UsageError):
    """No process, or more than one, has an id that begins with {id!r}."""

    default_hint = "online-migrate services   (lists the ids)"


class AttestationEmpty(UsageError):
    """An attestation needs a text that says what was checked."""

    default_hint = 'online-migrate contract --attest "no process of volume-api runs: checked on all hosts"'


class ServiceRefused(Refused):
    """The code of service {service!r} does not survive contract revision(s) {revisions}, which {state}."""


class VersionTooOld(Refused):
    """Service {service!r} reports {name} {version}; every process that runs understands {pin}."""

    default_hint = (
        "start a release that understands it; to go back to an older release, first stop every process that "
        "reports it"
    )


class PinUnknown(Refused):
    """The pin of {name!r} is not known: {reason}"""

    default_hint = "start a service that reports it (versions= of heartbeat), or give a minimum"


class ServiceRegistryMissing(Refused):
    """This database has no registry of services, in which service {service!r} could report."""

    default_hint = "online-migrate expand   (creates the table online_migrate_service)"
