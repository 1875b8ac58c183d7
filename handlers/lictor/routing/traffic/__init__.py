"""Traffic of services: what this node's nginx counts of it, and what of that is told to the others."""
