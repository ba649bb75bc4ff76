"""The channels: one file each, and one line each in `registry.py`."""
