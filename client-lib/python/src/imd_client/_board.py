"""Who is told of the status: one board for each client."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import replace
from types import TracebackType

from imd_client._code_table import Code
from imd_client._signal import Signal
from imd_client._status import Loss, Status, daemon_lost

BACKLOG = 64
"""How many changes a reader may be behind; a slower one skips the oldest."""

Listener = Callable[[Status], object]


class Board:
    """The newest status, and those who wait for the next."""

    def __init__(self, status: Status) -> None:
        self.current = status
        self._readers: set[Callable[[Status | None], None]] = set()
        self._is_closed = False

    def publish(self, status: Status) -> None:
        """Makes a status the newest, unless it is old: the daemon tells it in more than one answer."""
        if not self.current.is_daemon_lost and status.generation > self.current.generation:
            self._set(status)

    def found(self, status: Status) -> None:
        """There is a daemon (again): its status, whatever its generation."""
        self._set(status)

    def lost(self, loss: Loss, reason: str) -> None:
        """Makes the status read "daemon lost": once for each loss."""
        if not self.current.is_daemon_lost:
            self._set(daemon_lost(self.current, loss, reason))

    def still_lost(self, code: Code, reason: str) -> None:
        """Why the last attempt to bind failed, for whoever looks: nobody is told."""
        if self.current.is_daemon_lost:
            self.current = replace(self.current, last_code=code, reason=reason)

    def add(self, reader: Callable[[Status | None], None]) -> None:
        """Tells the status as it is, then every change; None at the end."""
        self._readers.add(reader)
        reader(self.current)
        if self._is_closed:
            reader(None)

    def remove(self, reader: Callable[[Status | None], None]) -> None:
        """Tells it nothing more."""
        self._readers.discard(reader)

    def close(self) -> None:
        """The end."""
        self._is_closed = True
        for reader in tuple(self._readers):
            reader(None)
        self._readers.clear()

    def _set(self, status: Status) -> None:
        self.current = status
        for reader in tuple(self._readers):
            reader(status)


class StatusChanges:
    """The status as it is, then every change: `async for`.

    A reader that is more than 64 changes behind skips the oldest. It ends when the client is closed, and not
    with the daemon, whose loss is a value of its own.
    """

    def __init__(self, board: Board) -> None:
        self._board = board
        self._changes: deque[Status] = deque(maxlen=BACKLOG)
        self._has_ended = False
        self._signal = Signal()
        board.add(self._tell)

    def _tell(self, status: Status | None) -> None:
        if status is None:
            self._has_ended = True
        else:
            self._changes.append(status)
        self._signal.notify()

    def __aiter__(self) -> StatusChanges:
        return self

    async def __anext__(self) -> Status:
        await self._signal.wait_for(lambda: self._changes or self._has_ended or None)
        if not self._changes:
            raise StopAsyncIteration
        return self._changes.popleft()

    async def aclose(self) -> None:
        """Ends it."""
        self._board.remove(self._tell)
        self._tell(None)


class StatusListener:
    """Keeps a status listener, until it is closed: a context manager."""

    def __init__(self, board: Board, listener: Listener) -> None:
        self._board = board
        self._listener: Listener | None = listener
        self._loop = asyncio.get_running_loop()
        board.add(self._tell)

    def _tell(self, status: Status | None) -> None:
        # Later, so that one who is told may do as he likes; in order, for the loop keeps it.
        if status is not None:
            self._loop.call_soon(self._call, status)

    def _call(self, status: Status) -> None:
        if self._listener is not None:
            self._listener(status)

    def close(self) -> None:
        """Takes the listener away."""
        self._listener = None
        self._board.remove(self._tell)

    def __enter__(self) -> StatusListener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
