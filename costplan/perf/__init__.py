"""From GPU, model and measured kernels to memory budgets and step times."""
