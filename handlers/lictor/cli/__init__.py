"""The command `lictor`: one module for each group of verbs; `setup/` prepares and diagnoses a node."""
