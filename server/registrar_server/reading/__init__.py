"""Answers lookups, lists and the history from the last committed state."""
