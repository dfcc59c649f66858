"""Keyside: a chat server that never holds an API key."""

__version__ = "0.1.0"
