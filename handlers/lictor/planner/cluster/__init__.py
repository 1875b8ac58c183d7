"""The membership of a set with state: which member joins, gets a vote, restarts or leaves next, and why. Pure."""
