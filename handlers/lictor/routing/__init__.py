"""Catalogue -> nginx: who receives traffic, which files say so, and publishing them safely."""
