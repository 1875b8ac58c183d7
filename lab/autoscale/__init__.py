"""Autoscalers side by side, in simulated time."""
