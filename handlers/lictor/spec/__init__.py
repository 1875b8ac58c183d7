"""What people ask for: the service spec, the keys, the node's settings; parsed and validated."""
