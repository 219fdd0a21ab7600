"""The fast engine: C sources and the WebAssembly module built from them by ``benchmarks/build_engine.py``."""
