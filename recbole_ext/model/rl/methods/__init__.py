"""Methods of reinforcement learning, one a file: a class of that name, its settings, the term that differs."""
