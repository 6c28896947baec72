"""The built-in functions of each server that are known to have no side effects. Pure data.

A call of any other function may change rows, so a statement with such a call does not count as a read. A name
is listed only if every overload of the built-in function is harmless. Left out on purpose: functions that
acquire or release a named lock (``pg_advisory_unlock``, ``RELEASE_LOCK``), that execute SQL from an argument
(``query_to_xml``), or that change a sequence, a setting or a session (``setval``, ``set_config``,
``pg_terminate_backend``).
"""

from __future__ import annotations

_SHARED = """
    abs avg ceil ceiling coalesce concat concat_ws cos count cume_dist current_date current_time
    current_timestamp dense_rank exp first_value floor lag last_value lead left ln log lower ltrim max
    min mod nth_value ntile nullif percent_rank pi power radians rank replace right round row_number
    rtrim sign sin sqrt substr substring sum tan trim upper degrees acos asin atan atan2 cot
"""
_MYSQL = """
    adddate addtime ascii bin bit_and bit_count bit_length bit_or bit_xor cast char char_length
    character_length charset coercibility collation compress connection_id conv convert convert_tz crc32
    curdate current_role current_user curtime database date date_add date_format date_sub datediff day
    dayname dayofmonth dayofweek dayofyear default elt export_set extract field find_in_set format
    found_rows from_base64 from_days from_unixtime get_format greatest group_concat hex hour if ifnull
    inet_aton inet_ntoa insert instr interval isnull json_array json_arrayagg json_contains
    json_contains_path json_depth json_exists json_extract json_insert json_keys json_length
    json_merge_patch json_merge_preserve json_object json_objectagg json_quote json_remove json_replace
    json_search json_set json_type json_unquote json_valid json_value last_day last_insert_id lcase
    least length localtime localtimestamp locate log10 log2 lpad make_set makedate maketime md5
    microsecond mid minute month monthname now oct octet_length ord period_add period_diff position pow
    quarter quote rand regexp_instr regexp_like regexp_replace regexp_substr repeat reverse row_count
    rpad schema sec_to_time second session_user sha sha1 sha2 sleep soundex space std stddev stddev_pop
    stddev_samp str_to_date strcmp subdate substring_index subtime sysdate system_user time time_format
    time_to_sec timediff timestamp timestampadd timestampdiff to_base64 to_days to_seconds truncate
    ucase uncompress unhex unix_timestamp user utc_date utc_time utc_timestamp uuid uuid_short values
    var_pop var_samp variance version week weekday weekofyear weight_string year yearweek
"""
_NAMES: dict[str, str] = {
    "postgresql": """
        age array_agg array_append array_cat array_dims array_length array_lower array_ndims
        array_position array_positions array_prepend array_remove array_replace array_to_json
        array_to_string array_upper ascii bit_and bit_length bit_or bool_and bool_or btrim cardinality
        cbrt char_length character_length chr clock_timestamp col_description convert_from convert_to
        corr current_database current_schema current_schemas current_setting date_bin date_part
        date_trunc decode div encode every extract factorial format format_type gen_random_uuid
        generate_series generate_subscripts get_bit get_byte has_column_privilege has_database_privilege
        has_schema_privilege has_sequence_privilege has_table_privilege host hostmask inet_client_addr
        inet_server_addr initcap isfinite json_agg json_array_elements json_array_elements_text
        json_array_length json_build_array json_build_object json_each json_each_text json_extract_path
        json_extract_path_text json_object_agg json_object_keys json_populate_record
        json_populate_recordset json_strip_nulls json_to_record json_to_recordset json_typeof jsonb_agg
        jsonb_array_elements jsonb_array_elements_text jsonb_array_length jsonb_build_array
        jsonb_build_object jsonb_each jsonb_each_text jsonb_extract_path jsonb_extract_path_text
        jsonb_insert jsonb_object jsonb_object_agg jsonb_object_keys jsonb_path_exists jsonb_path_query
        jsonb_path_query_array jsonb_path_query_first jsonb_pretty jsonb_set jsonb_strip_nulls
        jsonb_typeof justify_days justify_hours justify_interval length lower_inc lower_inf lpad
        make_date make_interval make_time make_timestamp make_timestamptz masklen md5 mode network now
        numnode obj_description octet_length overlay parse_ident percentile_cont percentile_disc
        pg_backend_pid pg_column_size pg_database_size pg_encoding_to_char pg_function_is_visible
        pg_get_constraintdef pg_get_expr pg_get_functiondef pg_get_indexdef pg_get_partkeydef
        pg_get_ruledef pg_get_serial_sequence pg_get_triggerdef pg_get_userbyid pg_get_viewdef
        pg_collation_is_visible pg_conversion_is_visible pg_function_is_visible
        pg_opclass_is_visible pg_operator_is_visible pg_opfamily_is_visible
        pg_index_column_has_property pg_indexes_size pg_is_in_recovery pg_is_other_temp_schema
        pg_my_temp_schema pg_relation_size pg_size_pretty pg_sleep pg_table_is_visible pg_table_size
        pg_total_relation_size pg_type_is_visible pg_typeof position quote_ident quote_literal
        quote_nullable random regexp_match regexp_matches regexp_replace regexp_split_to_array
        regexp_split_to_table repeat reverse row_to_json rpad scale sha224 sha256 sha384 sha512
        shobj_description split_part starts_with statement_timestamp stddev stddev_pop stddev_samp
        string_agg string_to_array strpos timezone to_char to_date to_hex to_json to_jsonb to_number
        to_regclass to_regproc to_regtype to_timestamp to_tsquery to_tsvector transaction_timestamp
        translate trunc unnest upper_inc upper_inf var_pop var_samp variance version width_bucket
        isempty phraseto_tsquery plainto_tsquery websearch_to_tsquery ts_rank setweight strip cast
        greatest least grouping localtime localtimestamp xmlelement overlaps bit bool bpchar char
        character date decimal dec float float4 float8 int2 int4 int8 interval money numeric regclass
        text time timestamp timestamptz timetz varbit varchar varying xml
    """,
    "mysql": _MYSQL
    + """
        any_value bin_to_uuid inet6_aton inet6_ntoa is_ipv4 is_ipv6 is_uuid json_overlaps json_pretty
        json_schema_valid json_storage_size json_table uuid_to_bin random_bytes grouping
    """,
    "mariadb": _MYSQL
    + """
        chr decode_histogram inet6_aton inet6_ntoa is_ipv4 is_ipv6 json_compact json_detailed json_loose
        json_overlaps json_query json_table lengthb median nvl nvl2 percentile_cont percentile_disc
        random_bytes sformat natural_sort_key to_char value
    """,
    "sqlite": """
        acosh asinh atanh cast changes json_array json_object log10 char date datetime glob group_concat
        hex ifnull iif instr json json_array_length json_each json_error_position json_extract
        json_group_array json_group_object json_insert json_patch json_quote json_remove json_replace
        json_set json_tree json_type json_valid julianday last_insert_rowid length like likelihood
        likely log2 octet_length pow printf format quote random randomblob soundex sqlite_source_id
        sqlite_version strftime string_agg time timediff total total_changes trunc typeof unhex unicode
        unixepoch unlikely zeroblob varchar nvarchar nchar character varying numeric decimal integer
        int float pragma_table_info pragma_table_xinfo pragma_index_list
        pragma_index_info pragma_index_xinfo pragma_foreign_key_list
    """,
}
HARMLESS: dict[str, frozenset[str]] = {
    server: frozenset((_SHARED + names).upper().split()) for server, names in _NAMES.items()
}
"""The names in upper case, by server."""

_RESERVED = """
    ALL AND ANY AS ASC BETWEEN CASE CROSS DESC DISTINCT ELSE EXCEPT EXISTS FROM GROUP HAVING IN INNER
    INTERSECT IS JOIN LATERAL LIKE LIMIT NATURAL NOT ON OR ORDER OUTER SELECT THEN UNION USING VALUES
    WHEN WHERE WITH CHECK UNIQUE PRIMARY FOREIGN REFERENCES RETURNING
"""
KEYWORDS: dict[str, frozenset[str]] = {
    "postgresql": frozenset(f"{_RESERVED} ILIKE SIMILAR SOME OFFSET FETCH ROW ARRAY".split()),
    "mysql": frozenset(f"{_RESERVED} KEY INDEX REGEXP RLIKE DIV XOR MATCH BY ROW ROWS OVER FULLTEXT".split()),
    "mariadb": frozenset(f"{_RESERVED} KEY INDEX REGEXP RLIKE DIV XOR MATCH BY FULLTEXT".split()),
    "sqlite": frozenset(f"{_RESERVED} MATCH REGEXP GLOB BY MATERIALIZED OFFSET".split()),
}
"""Keywords after which a parenthesis is not a call, by server. No function can have such a name."""

AFTER = {
    "OVER": (")",),
    "FILTER": (")",),
    "INCLUDE": (")",),
    "AGAINST": (")",),
    "BY": ("GROUP", "ORDER", "PARTITION"),
    "SETS": ("GROUPING",),
    "KEY": ("PRIMARY", "FOREIGN"),
    "EXCLUDE": ("ADD",),
    "MATERIALIZED": ("AS", "NOT"),
}
"""Words that are keywords only after one of these tokens; elsewhere they may be function names."""
