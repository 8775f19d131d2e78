"""The end of tasks."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

AGAIN = 0.2
"""Seconds until a task that goes on is cancelled once more."""


async def end(tasks: Iterable[asyncio.Task[Any]]) -> None:
    """Cancels tasks, and waits for their end.

    One that is cancelled in the moment in which what it waits for has come may go on: before Python 3.12
    `asyncio.wait_for` then gives the answer and forgets the cancellation.
    """
    pending = set(tasks)
    while pending:
        for task in pending:
            task.cancel()
        _, pending = await asyncio.wait(pending, timeout=AGAIN)
