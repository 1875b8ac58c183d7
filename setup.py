from setuptools import setup; setup()  # noqa: E702  (pip needs this file; all settings are in setup.cfg)
