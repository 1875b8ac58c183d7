"""Read-only views of lictor-serve over HTTP: the page for people, the same as JSON for programs, and the metrics."""
