"""The instances of this node: what they print, and programs run in them."""
