"""The verbs for spec files: reading, comparing and writing them."""
