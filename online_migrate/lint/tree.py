"""All scripts of a source on one server, with the project that they belong to."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

from online_migrate.kinds.base import DataMigration
from online_migrate.lint.catalog import Catalog
from online_migrate.lint.reading import read_script
from online_migrate.lint.schema import Schema
from online_migrate.lint.script import Script
from online_migrate.lint.source import ProjectScripts, Source
from online_migrate.phases.known import Server
from online_migrate.phases.schema import VirtualSchema
from online_migrate.script.graph import Graph, Phase


@dataclasses.dataclass(frozen=True)
class Tree:
    """The scripts of a source on one server, in the order in which they are applied."""

    server: Server
    scripts: tuple[Script, ...]
    schema: Schema
    """The schema after all scripts."""
    project: ProjectScripts | None = None
    """None: the source is SQL files."""

    @property
    def graph(self) -> Graph | None:
        """The revision graph; None for SQL files, and if it is not valid."""
        found = self.project.graph if self.project is not None else None
        return found if isinstance(found, Graph) else None

    @property
    def has_branches(self) -> bool:
        """True if the project has an expand or a contract branch."""
        graph = self.graph
        return graph is not None and not graph.heads.keys().isdisjoint((Phase.EXPAND, Phase.CONTRACT))

    @property
    def data_migrations(self) -> Mapping[str, DataMigration]:
        """The data migrations; empty for a project without the two branches."""
        if self.project is None or not self.has_branches:
            return {}
        return self.project.project.data_migrations

    def of_phase(self, phase: Phase) -> list[Script]:
        """Returns the reported scripts of a phase."""
        return [script for script in self.scripts if script.phase is phase and script.reported]


def read_tree(source: Source, server: Server, catalog: Catalog | None = None) -> Tree:
    """Reads the scripts of a source on one server.

    *catalog*: of a database of this server, on which the scripts will run that are not applied to it.
    """
    project = source if isinstance(source, ProjectScripts) else None
    together = project is not None and project.judged_together
    schema, judged, scripts = Schema(), VirtualSchema(), []
    applied, is_ahead = _applied(project, catalog), False
    for raw in source.scripts(server.product):
        if not together or not raw.reported:
            schema = schema.settled()
            judged.begin_group()
        ahead = catalog if raw.revision not in applied else None
        if ahead is not None and not is_ahead:
            # The database has the types of all columns, also of tables that no script creates.
            judged, is_ahead = VirtualSchema(ahead.schema), True
        script, schema = read_script(raw, server, schema, judged, ahead)
        scripts.append(script)
    return Tree(server, tuple(scripts), schema, project)


def _applied(project: ProjectScripts | None, catalog: Catalog | None) -> frozenset[str | None]:
    """Returns the revisions that are applied to the database of *catalog*."""
    graph = project.graph if project is not None else None
    if catalog is None or not isinstance(graph, Graph):
        return frozenset()
    known = [row for row in catalog.version_rows() if row in graph.revisions]
    return frozenset(graph.applied(known))
