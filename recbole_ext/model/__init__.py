"""Our models, one file each, and the few layers and losses that they share."""
