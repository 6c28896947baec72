"""volumes.name -> volumes.display_name: the same value under another name."""

from online_migrate import Backfill

# A row is pending as well when the two differ: version 1 may rename a volume after it was moved. While
# both versions write, the old column is the one that counts. (MySQL and MariaDB take "Disk" and "disk" for
# equal unless the column has a binary collation; where case alone may change, compare binary.)
display_name = Backfill(
    table="volumes",
    values=lambda t: {"display_name": t.c.name},
    pending=lambda t: t.c.display_name != t.c.name,
    revision="e1_display_name",
)
