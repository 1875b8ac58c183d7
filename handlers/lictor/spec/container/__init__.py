"""Keys of a spec about the container itself, with Compose's names and forms."""
