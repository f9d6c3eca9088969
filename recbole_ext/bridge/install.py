"""Install the extension into RecBole: patches first, then our models, data sets and loaders. Once, when asked."""

from __future__ import annotations


def install() -> None:
    """Mend RecBole for today's stack and register our models, datasets and splits with it. Idempotent."""
    from recbole_ext.bridge import patches, registry

    patches.apply()
    registry.register()
