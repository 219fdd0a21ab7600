"""Real kernels and how they are timed: the only room that imports torch, and only inside functions."""
