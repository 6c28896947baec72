"""The bookkeeping tables, and every query on them.

The tables are created and changed by the engine's own expand and contract scripts; what stands here is
how this version of the engine reads and writes them. Times are UTC without a zone. Keys of rows and the
like are kept as JSON text, which every server stores alike.
"""

from online_migrate.state.failures import failed_keys, forget_failures, key_hash, record_failures
from online_migrate.state.journal import (
    INTENT,
    Entry,
    close_journal,
    journal_entries,
    open_revisions,
    put_entry,
    remove_entry,
)
from online_migrate.state.records import (
    Record,
    Status,
    add_done,
    all_records,
    get_record,
    set_checkpoint,
    set_status,
    set_verified,
    start_record,
)
from online_migrate.state.tables import (
    PREFIX,
    TABLES,
    VERSION_TABLE,
    counted_as_known,
    exists,
    metadata,
    now,
    this_runner,
    version_rows,
)
from online_migrate.state.workers import (
    Walk,
    Worker,
    advance_worker,
    beat,
    dismiss,
    get_walk,
    lock_worker,
    put_walk,
    register,
    take,
    uncounted,
    watermark,
    workers_of,
)

__all__ = [
    "INTENT",
    "PREFIX",
    "TABLES",
    "VERSION_TABLE",
    "Entry",
    "Record",
    "Status",
    "Walk",
    "Worker",
    "add_done",
    "advance_worker",
    "all_records",
    "beat",
    "close_journal",
    "counted_as_known",
    "dismiss",
    "exists",
    "failed_keys",
    "forget_failures",
    "get_record",
    "get_walk",
    "journal_entries",
    "key_hash",
    "lock_worker",
    "metadata",
    "now",
    "open_revisions",
    "put_entry",
    "put_walk",
    "record_failures",
    "register",
    "remove_entry",
    "set_checkpoint",
    "set_status",
    "set_verified",
    "start_record",
    "take",
    "this_runner",
    "uncounted",
    "version_rows",
    "watermark",
    "workers_of",
]
