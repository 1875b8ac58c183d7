"""The outside world, one library or system facility a module: Consul, Docker, HTTP, files, processes, systemd."""
