"""The changes of courses."""

from registrar_client._calls.courses import create, delete, settle, undelete, update

__all__ = ["create", "delete", "settle", "undelete", "update"]
