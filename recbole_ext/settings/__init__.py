"""Typed settings: every key has a type, bounds or choices, a default, a sentence and a role, said once, in a class."""
