"""TLS of hosts: what their routes ask for, what this node's nginx can give, and renewed certificates."""
