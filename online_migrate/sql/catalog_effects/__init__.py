"""What a statement changes in the catalog, so that an interrupted one is known to be done or not. Pure."""
