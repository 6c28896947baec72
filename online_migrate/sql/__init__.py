"""Reading SQL: a statement's syntax tree, and what can be decided from it. Pure."""
