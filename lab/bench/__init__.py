"""Speed, measured on the real Consul and nginx, beside what else people use for the same."""
