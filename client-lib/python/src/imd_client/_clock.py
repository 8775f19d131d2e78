"""The clock that deadlines are counted on: it runs on while the machine sleeps."""

from __future__ import annotations

import time


def now() -> float:
    """Seconds since the machine was started."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
