"""The words that people type at a shell: verbs that they know from other tools, and names that a shell completes."""
