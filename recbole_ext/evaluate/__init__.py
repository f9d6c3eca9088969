"""What the ranks of a run say: facts of targets, slices, intervals, comparison, off-policy estimates. numpy only."""
