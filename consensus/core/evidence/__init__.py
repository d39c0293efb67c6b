"""What proves a decision, a view or an invitation to others."""
