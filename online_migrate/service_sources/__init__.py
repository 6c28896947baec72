"""Where services report other than to the registry of online-migrate: Cinder's and Nova's tables, a function.

Nothing of Cinder or Nova is imported: the tables are read with SQL.
"""
