"""The acts and the reading of a release that are not its instances: its colours' keys, and what nginx counted of it."""
