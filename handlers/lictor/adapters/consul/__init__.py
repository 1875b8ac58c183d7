"""Consul: its HTTP API, its environment variables, its lock, its watches' payloads."""
