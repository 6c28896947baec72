"""volumes.name -> volumes.display_name: a renamed column."""

from online_migrate import Backfill

# A row is also pending if the two columns differ: version 1 may rename a volume after its migration. While
# both versions write, the old column has the correct value. MySQL and MariaDB compare "Disk" and "disk" as
# equal unless the column has a binary collation; if only the case may change, compare binary.
display_name = Backfill(
    table="volumes",
    values=lambda t: {"display_name": t.c.name},
    pending=lambda t: t.c.display_name != t.c.name,
    revision="e1_display_name",
)
