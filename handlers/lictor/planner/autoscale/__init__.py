"""Scaling by response time: from what nginx counted and what was learned to a wish for the count of instances. Pure."""
