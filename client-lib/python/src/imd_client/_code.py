"""What a code is; the table of them is in `_code_table`."""

from __future__ import annotations

from enum import Enum

from imd_client._open_enum import OpenEnum


class Kind(Enum):
    """What happens after a code."""

    LOOP = "loop"
    """It heals by itself: the daemon goes on, and the code shows in the status alone."""
    TERMINAL = "terminal"
    """It ends the connection until an app connects again."""
    CALL = "call"
    """It ends the one call it answers, and touches nothing else."""


class CodeRow(OpenEnum):
    """A code as it travels: any number, of which some are in the table."""

    kind: Kind | None
    """What happens after it; `None` for a number that is not in the table."""
    meaning: str
    """What it means."""
    action: str
    """What the app should do."""

    # Defaults, because a type checker takes Code(31004) for a call of this.
    def __new__(cls, number: int, kind: str = "loop", meaning: str = "", action: str = "") -> CodeRow:
        code = int.__new__(cls, number)
        code._value_ = number
        code.kind = Kind(kind)
        code.meaning = meaning
        code.action = action
        return code

    @classmethod
    def _missing_(cls, value: object) -> OpenEnum | None:
        unlisted = super()._missing_(value)
        if isinstance(unlisted, CodeRow):
            unlisted.kind = None
            unlisted.meaning = "The server's own number, unknown to imd."
            unlisted.action = "Ask whoever runs the server what it means."
        return unlisted

    @property
    def is_terminal(self) -> bool:
        """Whether the code ends the connection until an app connects again."""
        return self.kind is Kind.TERMINAL
