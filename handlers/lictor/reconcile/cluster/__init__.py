"""Sets with state: what is seen of one, the decision on it, and carrying that out, one act at a time."""
