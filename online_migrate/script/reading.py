"""Makes the revision graph from Alembic's scripts, and from what the settings declare about them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from online_migrate import exceptions
from online_migrate.script.declarations import NOTHING_DECLARED, ScriptDeclarations
from online_migrate.script.graph import UNDECLARED, Graph, Phase, Revision


def from_scripts(
    scripts: Sequence[Any],
    declared: ScriptDeclarations = NOTHING_DECLARED,
    locations: Iterable[Path] = (),
) -> Graph:
    """Returns the graph of Alembic scripts, given with children before parents (``walk_revisions``).

    *declared*: what the settings say of scripts that must not be touched. *locations*: the folders of the
    scripts; a script in ``<release>/expand`` or ``<release>/contract`` below one of them has that release.
    """
    by_label = {
        label: script.revision for script in scripts for label in _labels(script) if label not in ("", None)
    }
    ids = {script.revision for script in scripts}
    folders = list(locations)
    revisions = [_revision(script, ids, by_label, folders) for script in reversed(scripts)]
    history = declared.history_in(ids)
    if not declared.requires and not declared.additive:
        return Graph(revisions, history)
    return Graph(declared.complete(Graph(revisions, history)), history)


def declares_requires(script: Any) -> bool:
    """Returns True if a script says itself what it requires."""
    return getattr(script.module, "requires", None) is not None


def _labels(script: Any) -> tuple[str, ...]:
    return _names(getattr(script.module, "branch_labels", None))


def _names(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else tuple(value)


def _names_in(script: Any, variable: str) -> tuple[str, ...]:
    """Returns the names that a script declares in *variable*."""
    value = getattr(script.module, variable, None)
    if not isinstance(value, str | tuple | list | set | frozenset | None) or not all(
        isinstance(name, str) for name in value or ()
    ):
        raise exceptions.GraphBroken(
            reason=f"{variable} of {script.revision} is not a tuple of names: {value!r} ({script.path})",
            hint=f'write {variable} = ("name", ...)',
        )
    return _names(value)


def reasons_in(script: Any, variable: str) -> tuple[tuple[str, str], ...]:
    """Returns the pairs of a key and a reason that a script declares in *variable*."""
    value = getattr(script.module, variable, None)
    pairs = [] if value is None else list(value.items()) if isinstance(value, Mapping) else [(value, None)]
    for key, reason in pairs:
        if not isinstance(key, str) or not isinstance(reason, str) or not key.strip() or not reason.strip():
            raise exceptions.GraphBroken(
                reason=f"{variable} of {script.revision} is not a dict of operations and reasons: {value!r} "
                f"({script.path})",
                hint=f'write {variable} = {{"drop-column table.column": "why no code uses it"}}',
            )
    return tuple(pairs)


def versions_in(script: Any) -> tuple[tuple[str, str], ...]:
    """Returns the pairs of a service and a version that a script declares in ``survived_by``."""
    value = getattr(script.module, "survived_by", None)
    pairs = tuple(value.items()) if isinstance(value, Mapping) else ()
    if not isinstance(value, Mapping | None) or not all(
        isinstance(text, str) and not set(text) & set(" \t\n,=") and text for pair in pairs for text in pair
    ):
        raise exceptions.GraphBroken(
            reason=f"survived_by of {script.revision} is not a dict of services and versions: {value!r} "
            f"({script.path})",
            hint='write survived_by = {"SERVICE": "VERSION"}, or {"SERVICE:NAME": "VERSION"}',
        )
    return pairs


def _release_of(script: Any, folders: Sequence[Path]) -> str | None:
    """Returns the release that a script names, or else the folder of its release."""
    release: str | None = getattr(script.module, "release", None)
    if release is not None:
        return release
    path = Path(script.path)
    for folder in folders:
        parts = path.relative_to(folder).parts if path.is_relative_to(folder) else ()
        if len(parts) == 3 and parts[1] in (Phase.EXPAND.value, Phase.CONTRACT.value):
            return parts[0]
    return None


def _revision(script: Any, ids: set[str], by_label: Mapping[str, str], folders: Sequence[Path]) -> Revision:
    depends = tuple(
        name if name in ids else by_label.get(name, name) for name in script._resolved_dependencies
    )
    return Revision(
        id=script.revision,
        down=tuple(script._versioned_down_revisions),
        depends_on=depends,
        labels=frozenset(_labels(script)),
        requires=_names_in(script, "requires") if declares_requires(script) else UNDECLARED,
        locks=_names_in(script, "locks"),
        batch_losses=_names_in(script, "batch_losses"),
        rebuilds=_names_in(script, "rebuilds"),
        additive=reasons_in(script, "additive"),
        survived_by=versions_in(script),
        release=_release_of(script, folders),
        doc=(script.doc or "").strip(),
        path=script.path,
    )
