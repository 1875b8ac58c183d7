"""Pages for people: that of a service, and the troubles of nodes."""
