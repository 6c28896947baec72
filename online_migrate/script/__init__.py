"""A project on disk: its revision graph, its data migrations, and the functions that write its files."""
