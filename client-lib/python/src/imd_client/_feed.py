"""The log of everything durable an app may need, followed from a cursor on, over every death of the daemon."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Any

from imd_client import _methods, _wire
from imd_client._binder import Binder
from imd_client._errors import ImdError, is_loss, is_passing
from imd_client._event import Event, Start, Started
from imd_client._link import Link, Stream
from imd_client._signal import Signal
from imd_client._tasks import end

AGAIN = 1.0
"""Seconds before a daemon that did not give it is asked again."""


class Feed:
    """The log as the library itself follows it, a page at a time."""

    def __init__(
        self,
        binder: Binder,
        start: Start,
        on_started: Callable[[], None] = lambda: None,
        *,
        is_patient: bool = False,
    ) -> None:
        self._binder = binder
        self._start = start
        self._on_started = on_started
        # What passes is waited out from the first request on; an app's own request fails as its other calls do.
        self._is_patient = is_patient
        self._link: Link | None = None
        self._pages: Stream[Any] | None = None
        self._has_started = False
        self._is_resumed = False

    async def next(self) -> list[Event]:
        """What follows; waits until there is something. Without a daemon it waits for one."""
        while True:
            try:
                if self._pages is None:
                    self._link = await self._binder.next_link(self._link)
                    self._pages = await self._link.open(_methods.SUBSCRIBE, _wire.to_subscribe(self._start))
                page = await self._pages.read()
            except ImdError as error:
                self.close()
                if not is_loss(error):
                    if not (is_passing(error) and (self._is_patient or self._is_resumed)):
                        raise
                    self._link = None
                    await asyncio.sleep(AGAIN)
                self._is_resumed = True
                continue
            if page is None:
                self.close()
                self._is_resumed = True
                continue
            if events := self._take(_wire.events(page)):
                return events

    def close(self) -> None:
        """Ends it at this daemon."""
        if self._pages is not None:
            self._pages.close()
            self._pages = None

    def _take(self, events: list[Event]) -> list[Event]:
        if not events:
            return events
        # From here on it would go on after the last one.
        self._start = events[-1].cursor
        first = events[0].kind
        if not isinstance(first, Started):
            return events
        self._on_started()
        is_joined = self._has_started and self._is_resumed and first.recovered
        self._has_started, self._is_resumed = True, False
        return events[1:] if is_joined else events


class Events:
    """The events after a cursor, then every one that comes: `async for`, also as a context manager.

    It goes on over every death of the daemon, each event once. A slow reader holds up nobody: the daemon reads
    on for it when it does. It ends with an error the daemon answers, and without one when the client is closed.
    """

    def __init__(self, feed: Feed, on_end: Callable[[Events], None]) -> None:
        self._feed = feed
        self._on_end = on_end
        self._page: deque[Event] = deque()
        self._error: ImdError | None = None
        self._has_ended = False
        self._signal = Signal()
        self._task = asyncio.get_running_loop().create_task(self._pump())

    async def _pump(self) -> None:
        try:
            while True:
                page = await self._feed.next()
                self._page.extend(page)
                self._signal.notify()
                # The reader is slower than the daemon: one page waits, and no more.
                await self._signal.wait_for(lambda: True if not self._page else None)
        except ImdError as error:
            self._error = error
        finally:
            self._end()

    def _end(self) -> None:
        self._feed.close()
        self._has_ended = True
        self._on_end(self)
        self._signal.notify()

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        await self._signal.wait_for(lambda: True if self._page or self._has_ended else None)
        if self._page:
            event = self._page.popleft()
            if not self._page:
                self._signal.notify()
            return event
        error, self._error = self._error, None
        if error is not None:
            raise error
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Ends it."""
        self._page.clear()
        await end({self._task})
        # One that was never begun has not ended itself.
        self._end()

    async def __aenter__(self) -> Events:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.aclose()
