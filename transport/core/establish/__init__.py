"""How a presence comes about, replaces another, renews its keys and moves."""
