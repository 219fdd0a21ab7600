"""Errors, units, evidence, dtypes, shipped data, atomic writes: what every room may use. Imports nothing of ours."""
