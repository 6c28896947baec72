"""The built-in functions that an expression of a sync may call. Pure data.

A name is listed only if every overload of the built-in function returns the same value for the same
arguments, in every session, and is no aggregate. Left out on purpose: functions of the time, of the session,
of the time zone, of a sequence, and random ones.
"""

from __future__ import annotations

_SHARED = """
    abs ceil ceiling coalesce concat concat_ws exp floor ln log lower ltrim mod nullif power replace round
    rtrim sign sqrt substr substring trim upper
"""
_MYSQL = """
    ascii bin bit_count bit_length cast char_length character_length conv convert crc32 date date_add datediff
    date_sub day dayofmonth dayofweek dayofyear elt extract field find_in_set from_base64 from_days greatest
    hex hour if ifnull inet_aton inet_ntoa insert instr isnull json_array json_contains json_extract
    json_length json_object json_quote json_remove json_replace json_set json_type json_unquote json_valid
    json_value last_day lcase least left length locate log10 log2 lpad makedate maketime md5 microsecond mid
    minute month octet_length ord period_add period_diff position pow quarter quote regexp_replace
    regexp_substr repeat reverse right rpad sec_to_time second sha1 sha2 space strcmp substring_index
    time_to_sec timestampadd timestampdiff to_base64 to_days to_seconds truncate ucase unhex year
"""
_NAMES: dict[str, str] = {
    "postgresql": """
        array_append array_cat array_length array_position array_prepend array_remove array_replace
        array_to_string ascii bit_length btrim cardinality cast cbrt char_length character_length chr
        convert_from convert_to decode div encode extract greatest host initcap json_array_length
        json_extract_path_text jsonb_array_length jsonb_build_array jsonb_build_object jsonb_extract_path
        jsonb_extract_path_text jsonb_set jsonb_strip_nulls jsonb_typeof least left length lpad
        make_date make_interval make_time make_timestamp md5 octet_length overlay position regexp_replace
        repeat reverse right rpad scale sha256 split_part starts_with string_to_array strpos translate
        trunc
    """,
    "mysql": _MYSQL,
    "mariadb": _MYSQL + " nvl nvl2",
    "sqlite": """
        cast char glob hex ifnull iif instr json json_array json_array_length json_extract json_insert
        json_object json_quote json_remove json_replace json_set json_type json_valid length like max min
        nullif printf format quote replace trunc typeof unicode
    """,
}

REPEATABLE = {server: frozenset((_SHARED + names).split()) for server, names in _NAMES.items()}
"""The functions by server, in lower case."""

TIME_OR_SESSION = frozenset(
    {"CURRENT_TIMESTAMP", "CURRENT_DATE", "CURRENT_TIME", "LOCALTIME", "LOCALTIMESTAMP", "CURRENT_USER"}
    | {"SESSION_USER", "CURRENT_ROLE", "CURRENT_CATALOG", "CURRENT_SCHEMA", "USER", "UTC_DATE", "UTC_TIME"}
    | {"UTC_TIMESTAMP"}
)
"""Functions without parentheses whose value depends on the time or the session."""
