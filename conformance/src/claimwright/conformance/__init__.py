"""To be described by its first modules."""
