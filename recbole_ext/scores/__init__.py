"""Scores of rows for all items, and the rank of a target."""
