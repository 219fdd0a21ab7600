"""The measuring protocol: clocks, regimes, when a median has settled."""
