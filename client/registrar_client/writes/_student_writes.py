"""The changes of students."""

from registrar_client._calls.students import create, delete, place_hold, release_hold, undelete, update

__all__ = ["create", "delete", "place_hold", "release_hold", "undelete", "update"]
