"""The manifests of a project: the versions of all objects in a release, under one version. Pure."""

from __future__ import annotations

from collections.abc import Mapping

from online_migrate.exceptions import UsageError
from online_migrate.openstack.message_errors import ManifestUnknown
from online_migrate.services.pin_rule import as_numbers
from online_migrate.services.service import is_version


class Manifests:
    """Every manifest that this release can send to.

    *changes*: version of the manifest -> object -> its version. Each manifest contains the objects of those
    before, so only what changed need be written; None removes an object. Cinder's ``OBJ_VERSIONS`` has this
    form.

    Raises :class:`~online_migrate.exceptions.UsageError` if there is none, or for a version that is none.
    """

    def __init__(self, changes: Mapping[str, Mapping[str, str | None]]) -> None:
        if not changes:
            raise UsageError(message="there is no manifest")
        for version, objects in changes.items():
            for one in (version, *(given for given in objects.values() if given is not None)):
                if not is_version(one):
                    raise UsageError(message=f"{one!r} in manifest {version!r} is no version")
        self._manifests: dict[str, dict[str, str]] = {}
        manifest: dict[str, str] = {}
        for version in sorted(changes, key=as_numbers):
            merged = {**manifest, **changes[version]}
            manifest = {name: given for name, given in merged.items() if given is not None}
            self._manifests[version] = manifest

    @property
    def newest(self) -> str:
        """The version that a process of this release reports."""
        return list(self._manifests)[-1]

    def at(self, version: str) -> Mapping[str, str]:
        """Returns the manifest of *version*, or the newest if *version* is newer: newer code reads it, too.

        Raises :class:`~online_migrate.openstack.message_errors.ManifestUnknown`.
        """
        if as_numbers(version) > as_numbers(self.newest):
            return self._manifests[self.newest]
        if version not in self._manifests:
            raise ManifestUnknown(version=version, known=", ".join(self._manifests))
        return self._manifests[version]
