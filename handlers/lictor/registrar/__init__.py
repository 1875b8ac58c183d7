"""Docker -> catalogue: the resident that registers this node's containers."""
