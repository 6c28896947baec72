"""The command line: options, output, exit codes. No SQL, no decisions."""
