"""The autoscaler around its decisions: it reads what was counted, remembers what was learned, and writes the wish."""
