"""The history of the schema, one step a file, applied in order at start-up."""
