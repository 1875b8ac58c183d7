"""The real Consul, nginx and Docker, started for one test, demo or bench on free loopback ports, and stopped by pid."""
