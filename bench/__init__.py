"""Measures the server against other implementations of the same work, all in one run: ``make bench``."""
