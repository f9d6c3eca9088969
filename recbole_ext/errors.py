"""The one exception for a user's mistakes; apart from config, so that raising it loads nothing else."""


class UsageError(Exception):
    """Something the user can put right; its text is one sentence: what is wrong, where, what to do."""
