"""The engines that run containers: one module for each, behind two protocols."""
