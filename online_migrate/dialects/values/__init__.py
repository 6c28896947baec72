"""Values that are written exactly as they were read."""
