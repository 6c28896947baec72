"""The whole life of a migration on a sample database, under live traffic."""
