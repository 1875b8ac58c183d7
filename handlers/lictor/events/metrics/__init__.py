"""Numbers of this node for Prometheus: what its sweeps saw, and its totals, in Prometheus' text format."""
