"""How services are, read from Consul for people and programs: what status, plan, why and the page show."""
