"""ORDER: which task follows which."""
