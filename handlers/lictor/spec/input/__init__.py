"""What people write: short forms, words for what is wrong, the place of it in a file, and the schema."""
