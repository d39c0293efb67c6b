"""A member of four that sends what it likes over its real presence."""
