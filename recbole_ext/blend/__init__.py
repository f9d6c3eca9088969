"""Models made of finished runs."""
