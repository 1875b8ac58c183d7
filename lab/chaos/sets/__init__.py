"""Chaos on a service with state: what happens to a set of etcd that lictor runs, and the verdict on it."""
