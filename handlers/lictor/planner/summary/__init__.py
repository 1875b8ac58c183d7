"""The one summary of a service: what status, plan, why, the check and doctor say of it."""
