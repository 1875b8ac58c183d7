"""Preparing a node for lictor, and diagnosing it."""
