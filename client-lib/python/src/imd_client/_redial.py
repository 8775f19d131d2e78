"""When a daemon that is gone is dialled again."""

from __future__ import annotations

SHORTEST = 0.010
LONGEST = 1.0

STABLE = 2.0
"""A binding that lived so long was a good one, in seconds."""

LOOKS = 20
"""How often in a pause the socket's name is looked at."""


class Redial:
    """The pauses between two dials: 10 ms, doubling to a second."""

    def __init__(self) -> None:
        self._pause = SHORTEST

    def next_pause(self) -> float:
        """Seconds until the next dial."""
        pause = self._pause
        self._pause = min(pause * 2, LONGEST)
        return pause

    def restart(self) -> None:
        """The socket's name has appeared, and it has been dialled for that."""
        self._pause = SHORTEST

    def lived(self, seconds: float) -> None:
        """A binding has ended that lived so long."""
        if seconds >= STABLE:
            self._pause = SHORTEST

    @staticmethod
    def look(pause: float) -> float:
        """Seconds between two looks at the socket's name."""
        return max(pause / LOOKS, SHORTEST)
