"""Reinforcement learning on a sequential encoder: `<encoder><method>` models such as SASRecSQN."""
