"""Numbers with names, of which a later daemon may know more."""

from __future__ import annotations

from enum import IntEnum


class OpenEnum(IntEnum):
    """An open set: a number without a name is a value all the same, and its name is `UNLISTED`."""

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        if not isinstance(value, int):
            return None
        unlisted = int.__new__(cls, value)
        unlisted._name_ = "UNLISTED"
        unlisted._value_ = value
        return unlisted

    def __str__(self) -> str:
        return f"{self.name} ({self.value})"
