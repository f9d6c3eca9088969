"""From atomic files to batches."""
