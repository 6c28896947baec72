"""What a statement of a revision may do, and whether it needs the lock: an allow-list per server. Pure."""
