"""Carries out batches of commands: gather, lock, load, decide, write, commit."""
