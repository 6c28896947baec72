"""Tools that copy a table of MySQL or MariaDB while it is used: pt-online-schema-change, gh-ost."""
