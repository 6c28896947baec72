"""A project on disk: its script graph, its data migrations, and the commands that write files."""
