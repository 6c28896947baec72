"""The parts of ``prove``: the models of two versions, their traffic, the schema, and what is found."""
