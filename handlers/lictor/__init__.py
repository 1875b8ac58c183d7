"""lictor: event handlers that carry out what the Consul catalogue and its keys ask for."""

__version__ = "0.1.0"
