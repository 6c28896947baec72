"""Execution of DDL statements: bounded lock waits, a journal, resumption."""
