"""Files of nginx's: what lictor writes for a service, and how the text of a configuration is read."""
