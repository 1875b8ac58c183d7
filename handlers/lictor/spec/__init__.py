"""The wishes of users: the service spec, the keys, the node's settings; parsed and validated."""
