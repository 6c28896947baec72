"""The blockers of a sync whose triggers an interrupted contract has dropped."""

from __future__ import annotations

import pytest

from online_migrate.contract.sync_blockers import DROPPED, Standing, SyncCheck
from online_migrate.phases.known import Server
from online_migrate.runtime.rendering import Rendered, RenderedStatement
from online_migrate.state import RecordedSync
from online_migrate.sync.recorded import SyncState, TriggerState

TRIGGER = "online_migrate_sync_size_insert"
SYNC = RecordedSync(
    name="size",
    revision="e1",
    table_name="volumes",
    table_schema=None,
    target=None,
    forward={"size": "gb"},
    backward={"gb": "size"},
    columns_used={"volumes": ("gb", "size")},
    triggers={TRIGGER: ""},
)
DROP_SYNC, DROP_COLUMN = f"DROP TRIGGER {TRIGGER}", "ALTER TABLE volumes DROP COLUMN gb"


@pytest.mark.parametrize(
    ("statements", "gone", "expected"),
    [
        ((DROP_SYNC, DROP_COLUMN), {"size"}, []),
        ((DROP_SYNC, DROP_COLUMN), set(), [DROPPED]),
        ((DROP_SYNC,), {"size"}, [DROPPED]),
    ],
    ids=["its column is dropped", "its column is there", "another change dropped the column"],
)
def test_triggers_missing_after_interrupted_contract(
    statements: tuple[str, ...], gone: set[str], expected: list[str]
) -> None:
    """They are dropped for good only if the same revision also removes a column that they use."""
    check = SyncCheck(
        "c1",
        Rendered(tuple(RenderedStatement(text) for text in statements)),
        Server("mysql"),
        required=("volumes",),
        standing=Standing.HALF_APPLIED,
    )
    found = check.blockers([SyncState(SYNC, {TRIGGER: TriggerState.MISSING})], gone)
    assert [blocker.id for blocker in found] == expected
