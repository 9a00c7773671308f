"""The Registrar client."""
