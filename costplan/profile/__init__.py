"""Measured kernels on disk: tables, manifest, store, importers."""
