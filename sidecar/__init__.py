"""pronoia's process: floors 0 and 1, the loops' wiring, the API and the command line."""

__version__ = "0.1.0"
