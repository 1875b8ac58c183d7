"""What is shown of a service, and of the nodes."""
