"""How a table is walked in chunks, by whoever needs it: to move rows, or to verify them."""
