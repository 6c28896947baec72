"""The whole life of a migration on a sample database, under live traffic.

main      the story, told by the engine's own commands
project/  the scripts of the sample project: five changes, each in its three halves
narrator  how it is told
database  the sample database: made, filled, read at the end, cleaned up
application  the two versions of the application: what each of them reads and writes
traffic   their instances, each a thread
ledger    what was acknowledged, and whether it is there
"""
