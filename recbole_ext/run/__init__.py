"""One run: prepare, fit, test, record, checkpoints."""
