"""The settings of a session that change neither what a count reads nor how long a lock lasts. Pure data.

A setting that is missing here may do that: ``search_path`` and ``role`` change which rows are counted,
``autocommit`` and the isolation level change what a transaction sees.
"""

from __future__ import annotations

_MYSQL = """
    lock_wait_timeout innodb_lock_wait_timeout wait_timeout interactive_timeout net_read_timeout
    net_write_timeout foreign_key_checks unique_checks sql_mode time_zone names charset
    character_set_client character_set_results character_set_connection collation_connection
    sql_safe_updates sql_notes alter_algorithm old_alter_table sort_buffer_size read_buffer_size
    join_buffer_size tmp_table_size max_heap_table_size group_concat_max_len sql_quote_show_create
    innodb_strict_mode explicit_defaults_for_timestamp optimizer_switch lc_time_names
    sql_require_primary_key show_create_table_verbosity default_week_format div_precision_increment
    information_schema_stats_expiry
"""
_NAMES: dict[str, str] = {
    "postgresql": """
        lock_timeout statement_timeout idle_in_transaction_session_timeout idle_session_timeout
        transaction_timeout deadlock_timeout work_mem maintenance_work_mem temp_buffers
        max_parallel_maintenance_workers max_parallel_workers max_parallel_workers_per_gather
        client_min_messages log_min_messages log_statement log_min_duration_statement log_lock_waits
        application_name check_function_bodies default_tablespace temp_tablespaces synchronous_commit
        time timezone datestyle intervalstyle client_encoding names constraints escape_string_warning
        extra_float_digits bytea_output vacuum_cost_delay vacuum_cost_limit jit default_toast_compression
        default_table_access_method xmloption constraint_exclusion
    """,
    "mysql": f"{_MYSQL} max_execution_time sql_generate_invisible_primary_key innodb_ddl_threads"
    " innodb_ddl_buffer_size innodb_parallel_read_threads",
    "mariadb": f"{_MYSQL} max_statement_time system_versioning_alter_history",
    "sqlite": "",
}
HARMLESS: dict[str, frozenset[str]] = {
    server: frozenset(names.upper().split()) for server, names in _NAMES.items()
}
"""By server: the names, in upper case."""

_PRAGMAS = """
    TABLE_INFO TABLE_XINFO TABLE_LIST INDEX_LIST INDEX_INFO INDEX_XINFO FOREIGN_KEY_LIST FOREIGN_KEY_CHECK
    QUICK_CHECK INTEGRITY_CHECK DATABASE_LIST COLLATION_LIST FUNCTION_LIST MODULE_LIST PRAGMA_LIST
    COMPILE_OPTIONS FOREIGN_KEYS DEFER_FOREIGN_KEYS BUSY_TIMEOUT CACHE_SIZE TEMP_STORE LEGACY_ALTER_TABLE
    ANALYSIS_LIMIT OPTIMIZE DATA_VERSION FREELIST_COUNT PAGE_COUNT PAGE_SIZE ENCODING
    RECURSIVE_TRIGGERS CASE_SENSITIVE_LIKE
"""
PRAGMAS = frozenset(_PRAGMAS.split())
"""SQLite's pragmas that change no row and no definition."""
READABLE_PRAGMAS = frozenset(
    {"USER_VERSION", "APPLICATION_ID", "SCHEMA_VERSION", "JOURNAL_MODE", "QUERY_ONLY"}
)
"""SQLite's pragmas that may be read, and not set."""
