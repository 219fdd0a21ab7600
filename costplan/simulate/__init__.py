"""Requests + step times + KV blocks + scheduler rules -> latency of every request and load of the engine."""
