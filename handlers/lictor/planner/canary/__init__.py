"""Canaries: a share of the requests goes to the new colour first, and both colours' answers are compared. Pure."""
