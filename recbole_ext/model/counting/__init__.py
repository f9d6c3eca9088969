"""Models that learn at once, by counting."""
