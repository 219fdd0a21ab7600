"""Which kernels to measure for a workload, in which order, and when enough is known."""
