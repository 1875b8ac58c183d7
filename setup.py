from setuptools import setup

setup()  # pip needs this file; all settings are in setup.cfg
