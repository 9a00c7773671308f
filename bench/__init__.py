"""How fast Registrar is, measured against other ways of doing the same, in one run: ``make bench``."""
