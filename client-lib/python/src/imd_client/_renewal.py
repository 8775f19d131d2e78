"""A new token for the connection, when the daemon asks for one."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeAlias

from imd_client import _methods, _wire
from imd_client._binder import Binder
from imd_client._code_table import Code
from imd_client._errors import ImdError, is_loss
from imd_client._generated import session_pb2
from imd_client._link import Link

LOGGER = logging.getLogger("imd_client")

AGAIN = 1.0
"""Seconds before a daemon that did not take the offer is asked again."""


@dataclass(frozen=True)
class TokenExpiring:
    """TOKEN_EXPIRING: it is this app's turn to bring a new token."""

    expires: datetime | None
    """When the present token ends, by its own word. It may be past."""


Provide: TypeAlias = Callable[[TokenExpiring], Awaitable[str]]
Update: TypeAlias = Callable[[str], Awaitable[object]]


class TokenProvider:
    """Keeps a token provider, until it is closed: a context manager. The daemon then asks another app."""

    def __init__(self, task: asyncio.Task[Any]) -> None:
        self._task = task

    def close(self) -> None:
        """Takes the provider away."""
        self._task.cancel()

    def __enter__(self) -> TokenProvider:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


async def offer(binder: Binder, provide: Provide, update: Update) -> None:
    """Lets each daemon know that there is a provider, passes its questions on, and what it brings back."""
    link: Link | None = None
    while True:
        link = await binder.next_link(link)
        try:
            await _watch(link, binder, provide, update)
        except ImdError as error:
            # An older daemon asks nobody for a token, and a dead one is followed by the next.
            if not is_loss(error) and error.code != Code.IMD_VERSION_SKEW:
                await asyncio.sleep(AGAIN)
                link = None


async def _watch(link: Link, binder: Binder, provide: Provide, update: Update) -> None:
    stream = await link.open(_methods.WATCH_TOKEN_EXPIRING, session_pb2.WatchTokenExpiringRequest())
    try:
        while (asked := await stream.read()) is not None:
            expires = _wire.time(asked.expire_time) if asked.HasField("expire_time") else None
            try:
                token = await provide(TokenExpiring(expires))
            except Exception:
                # It is the app's own. The daemon asks the next app.
                LOGGER.exception("the token provider brings no token")
                continue
            # The daemon that asked may be gone. A new token is as good for the next one.
            await binder.next_link()
            try:
                await update(token)
            except ImdError as error:
                LOGGER.warning("the daemon does not take the new token: %s", error)
    finally:
        stream.close()
