"""The thread on which the library's event loop runs, for apps that have none."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


class LoopThread:
    """An event loop on a thread of its own. All clients of a process share one: gRPC wants it so."""

    _shared: LoopThread | None = None
    _lock = threading.Lock()

    def __init__(self) -> None:
        self._process = os.getpid()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="imd_client", daemon=True)
        self._thread.start()

    @classmethod
    def shared(cls) -> LoopThread:
        """The one of this process."""
        with cls._lock:
            if cls._shared is None or cls._shared._process != os.getpid():
                cls._shared = LoopThread()
            return cls._shared

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        """Does something there, and waits for it."""
        if os.getpid() != self._process:
            work.close()
            raise RuntimeError("this Client was built before a fork: build one in each process, after the fork")
        if threading.current_thread() is self._thread:
            work.close()
            raise RuntimeError("the library's own thread cannot wait for itself")
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            # One who was interrupted waits no longer; nothing of the daemon's is cancelled by that.
            future.cancel()
            raise
