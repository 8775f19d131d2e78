"""Daemons and their apps at one broker, and what the apps have seen."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Callable
from pathlib import Path

from imd_client import (
    Client,
    Direction,
    Event,
    Gap,
    GapKind,
    MessageStored,
    SentStatus,
    Started,
    Status,
    Tail,
    Unreadable,
)
from interop.broker import Broker
from kit import APP_KEY, Daemon, status_that

SOON = 60.0
"""How long what must come may take: three Erlang nodes and a build share two cores."""

QUIET = 10.0
"""Nothing more comes after so many seconds without anything."""

AT_ONCE = 500
"""The library follows no more than 1,024 messages at a time."""


class User:
    """A daemon of this user's, one app, and all that the app is told."""

    def __init__(self, broker: Broker, root: Path, turn: int, name: str) -> None:
        self.name = name
        self._broker = broker
        root.mkdir()
        urls = ", ".join(f'"{url}"' for url in broker.urls(turn))
        self.daemon = Daemon(root, f"[server]\nurls = [{urls}]\n")
        self.daemon.start_and_wait()
        self.incoming: list[str] = []
        """The texts that have come, in their order."""
        self.senders: list[str] = []
        """Who sent them."""
        self.unreadable: list[str] = []
        """The topics of what has come that is none of imd's."""
        self.gaps: list[GapKind] = []
        self._begun = asyncio.Event()
        self._opening = Client.build(APP_KEY, app_id="org.example.Chat", socket=self.daemon.socket)
        self._client: Client | None = None
        self._reading: asyncio.Task[None] | None = None

    @property
    def client(self) -> Client:
        """The app's."""
        assert self._client is not None, f"{self.name} has not been opened"
        return self._client

    async def open(self) -> None:
        """Binds the app, and begins to read."""
        self._client = await self._opening
        self._reading = asyncio.create_task(self._read())

    async def connect(self, token: str | None = None) -> float:
        """Connects, and waits until the app reads; gives the milliseconds until onSuccess."""
        begin = time.monotonic()
        await self.client.connect(token or self._broker.tokens[self.name], time_limit=SOON, user_id=self.name)
        passed = time.monotonic() - begin
        await asyncio.wait_for(self._begun.wait(), SOON)
        return passed * 1000

    async def reconnect(self) -> None:
        """Connects, whatever became of the connect before."""
        await self.client.disconnect()
        await self.connect()

    async def status(self, what: str, is_wanted: Callable[[Status], bool], seconds: float = SOON) -> Status:
        """Waits for a status."""
        try:
            return await status_that(self.client, is_wanted, seconds)
        except asyncio.TimeoutError:
            raise AssertionError(f"{self.name} waited in vain for {what}: {self.client.status}") from None

    async def connected(self) -> None:
        """Waits for the connection."""
        await self.status("CONNECTED", lambda status: status.is_connected)

    async def settled(self, count: int) -> int:
        """Waits for so many texts, or until nothing more comes; gives how many there are."""
        assert self._reading is not None
        if self._reading.done():
            self._reading.result()
        seen, since = len(self.incoming), time.monotonic()
        while len(self.incoming) < count and time.monotonic() - since < QUIET:
            await asyncio.sleep(0.02)
            if len(self.incoming) != seen:
                seen, since = len(self.incoming), time.monotonic()
        return len(self.incoming)

    async def send(self, to: str, texts: list[str], until: SentStatus) -> int:
        """Sends these, and waits until all are so far, or until no more get there; gives how many are."""
        done = 0
        room = asyncio.Semaphore(AT_ONCE)

        async def follow(text: str) -> None:
            nonlocal done
            async with room:
                sending = self.client.send_text(to, text)
                await (sending.received() if until is SentStatus.RECEIVED else sending.sent())
            done += 1

        following = [asyncio.create_task(follow(text)) for text in texts]
        seen, since = 0, time.monotonic()
        while done < len(texts) and time.monotonic() - since < QUIET:
            await asyncio.sleep(0.02)
            if done != seen:
                seen, since = done, time.monotonic()
        for task in following:
            task.cancel()
        await asyncio.gather(*following, return_exceptions=True)
        return done

    async def close(self) -> None:
        """Unbinds the app and ends the daemon."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.gather(self._reading, return_exceptions=True)
        if self._client is not None:
            await self._client.close()
        self.daemon.kill()

    async def _read(self) -> None:
        async for event in self.client.subscribe(Tail()):
            self._take(event)

    def _take(self, event: Event) -> None:
        kind = event.kind
        if isinstance(kind, Started):
            self._begun.set()
        elif isinstance(kind, MessageStored) and kind.message.direction is Direction.RECEIVE:
            self.incoming.append(kind.message.text or "")
            self.senders.append(kind.message.sender_user_id)
        elif isinstance(kind, Unreadable):
            self.unreadable.append(kind.topic)
        elif isinstance(kind, Gap):
            self.gaps.append(kind.kind)


class Stage:
    """One broker and its users. alice and bob are there all along."""

    def __init__(self, broker: Broker, root: Path) -> None:
        self.broker = broker
        self.version = ""
        """The version of MQTT the raw clients speak: the newest the broker takes."""
        self._root = root
        self._users: list[User] = []

    async def user(self, name: str) -> User:
        """Another daemon, of this user's; it is not connected."""
        user = User(self.broker, self._root / f"d{len(self._users)}", len(self._users), name)
        self._users.append(user)
        await user.open()
        return user

    async def end(self) -> None:
        """Ends all daemons."""
        for user in self._users:
            with contextlib.suppress(Exception):
                await user.close()
            user.daemon.kill()
