"""What runs containers: one module for each engine, behind two protocols."""
