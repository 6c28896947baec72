"""What a SQL text does to the schema, as data that does not depend on the parser that read it."""
