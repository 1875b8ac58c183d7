"""The handlers that Consul calls: one module for each watch, the timer, the HTTP door, and the agent configuration that
wires them."""
