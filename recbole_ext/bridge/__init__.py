"""All that knows RecBole's inside."""
