"""What holds the project's files against the rules of the house (docs/architecture.md)."""
