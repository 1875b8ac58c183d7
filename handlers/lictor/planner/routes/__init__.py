"""Decisions on routes: which of them are asked for other than by a spec. Pure."""
