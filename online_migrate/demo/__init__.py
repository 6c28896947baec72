"""A complete migration on a sample database, under live traffic.

main         the sequence of commands
project/     the scripts of the sample project: five changes, each with expand, data and contract script
narrator     the output
operator     runs the commands of online-migrate and prints their results
database     creates, fills, reads and cleans up the sample database
application  the two versions of the application: the columns that each version reads and writes
traffic      the instances of the application, each in a thread
ledger       the acknowledged writes, and their comparison with the database
"""
