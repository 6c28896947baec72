"""Parsing of SQL: tokens and syntax trees of statements, and the decisions that follow from them. Pure."""
