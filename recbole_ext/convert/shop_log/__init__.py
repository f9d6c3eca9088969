"""A shop's own log: what its columns mean, its events, and their sessions; the source is `sources/events.py`."""
