"""From run records to tables and pictures."""
