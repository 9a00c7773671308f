"""Deciding and recording enrollments: pure decisions over a batch's state, and the ledger that loads and writes it."""
