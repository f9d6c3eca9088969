"""The one exception of the converters; apart from them, so that catching it does not load polars."""


class ConvertError(Exception):
    """What stops a conversion, in one sentence for the user: what is wrong, where, and what to do."""
