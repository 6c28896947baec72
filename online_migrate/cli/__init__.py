"""The command line: words, colours, exit codes. No SQL, no decisions."""
