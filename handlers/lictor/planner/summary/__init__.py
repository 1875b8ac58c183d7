"""The one summary of a service: what status, plan, why, the check, doctor, the page and metrics say of it."""
