"""Three hosts on one machine: `scripts/lab`."""
