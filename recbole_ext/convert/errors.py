"""The one exception of the converters; apart from them, so that catching it does not load polars."""

from recbole_ext.errors import UsageError


class ConvertError(UsageError):
    """What stops a conversion, in one sentence for the user: what is wrong, where, and what to do."""
