"""Chaos: a whole node under a steady load, hurt every few seconds in every way that we know of; then the verdict."""
