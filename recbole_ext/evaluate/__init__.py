"""Ranks and top items of every target, beside RecBole's Evaluator."""
