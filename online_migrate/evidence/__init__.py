"""What contract, and the runner that moves rows, need to know about rows. Counted, never assumed."""
