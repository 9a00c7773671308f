"""The Registrar server."""
