"""The same names as in `imd_client`, for code that waits on its own thread.

All clients of a process share one thread of the library, on which an event loop runs; callbacks and listeners run on
another, one for each client, so that they may make calls themselves. A client may be used on any thread. Build it
after a fork, not before.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable, Coroutine
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from types import TracebackType
from typing import Any, TypeVar

from imd_client import _client, _feed, _sending
from imd_client._admin import App, Finding, StatusChange, Timeline, Version
from imd_client._board import StatusChanges as AsyncStatusChanges
from imd_client._board import StatusListener as AsyncStatusListener
from imd_client._connect import ConnectCallback, DatabaseOpenStatus, OnDatabaseOpened, TimeLimit
from imd_client._errors import ImdError
from imd_client._event import Cursor, Event, Start
from imd_client._message import (
    Content,
    Conversation,
    ConversationKey,
    ConversationPage,
    Group,
    Message,
    MessagePage,
    Outbox,
)
from imd_client._renewal import TokenExpiring
from imd_client._renewal import TokenProvider as AsyncTokenProvider
from imd_client._status import Status
from imd_client._thread import LoopThread

T = TypeVar("T")

LOGGER = logging.getLogger("imd_client")

__all__ = ["Client", "Events", "Sending", "StatusChanges", "StatusListener", "TokenProvider"]


class Client:
    """An app's binding to the daemon: `imd_client.Client`, whose calls wait. A context manager."""

    def __init__(self, client: _client.Client, thread: LoopThread) -> None:
        """Made by `Client.build`."""
        self._client = client
        self._thread = thread
        self._callbacks = ThreadPoolExecutor(1, "imd_client-callbacks")

    @classmethod
    def build(
        cls,
        app_key: str | None,
        *,
        app_id: str | None = None,
        app_version: str = "",
        socket: str | os.PathLike[str] | None = None,
        instance: str | None = None,
        wait_for_daemon: bool = False,
    ) -> Client:
        """Init: see `imd_client.Client.build`. It waits for the daemon, for 2 seconds at most."""
        building = _client.Client.build(
            app_key,
            app_id=app_id,
            app_version=app_version,
            socket=socket,
            instance=instance,
            wait_for_daemon=wait_for_daemon,
        )

        async def build() -> _client.Client:
            return await building

        thread = LoopThread.shared()
        return cls(thread.run(build()), thread)

    @property
    def instance_id(self) -> str:
        """The random id of this instance of the app: the same over all bindings."""
        return self._client.instance_id

    def close(self) -> None:
        """Unbinds the app."""
        self._run(self._client.close())
        self._callbacks.shutdown(wait=False)

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def connect(
        self,
        token: str,
        *,
        time_limit: TimeLimit | None = None,
        user_id: str | None = None,
        on_database_opened: OnDatabaseOpened | None = None,
    ) -> str:
        """See `imd_client.Client.connect`; gives the user id. `on_database_opened` runs on the callbacks' thread."""
        opened = None if on_database_opened is None else self._later(on_database_opened)

        async def connect() -> str:
            return await self._client.connect(token, time_limit=time_limit, user_id=user_id, on_database_opened=opened)

        return self._run(connect())

    def connect_with(
        self,
        token: str,
        callback: ConnectCallback,
        *,
        time_limit: TimeLimit | None = None,
        user_id: str | None = None,
    ) -> None:
        """As `connect`, with callbacks, which run on the callbacks' thread."""

        async def connect() -> None:
            later = _Later(self._later, callback)
            self._client.connect_with(token, later, time_limit=time_limit, user_id=user_id)

        self._run(connect())

    @property
    def status(self) -> Status:
        """The status as the daemon last told it; "daemon lost" while there is none."""
        return self._client.status

    def status_changes(self) -> StatusChanges:
        """The status as it is, then every change."""

        async def begin() -> AsyncStatusChanges:
            return self._client.status_changes()

        return StatusChanges(self._run(begin()), self._thread)

    def add_connection_status_listener(self, listener: Callable[[Status], object]) -> StatusListener:
        """Calls `listener` on the callbacks' thread with the status as it is, then with every change, until the guard
        is closed. The loss of the daemon is told exactly once each time."""

        async def add() -> AsyncStatusListener:
            return self._client.add_connection_status_listener(self._later(listener))

        return StatusListener(self._run(add()), self._thread)

    def send_message(self, conversation: ConversationKey, content: Content) -> Sending:
        """See `imd_client.Client.send_message`."""

        async def send() -> _sending.Sending:
            return self._client.send_message(conversation, content)

        return Sending(self._run(send()), self._thread)

    def send_text(self, to_user_id: str, text: str) -> Sending:
        """Sends a text to a user."""
        return self.send_message(ConversationKey.private(to_user_id), Content.text(text))

    def subscribe(self, start: Start) -> Events:
        """See `imd_client.Client.subscribe`."""

        async def begin() -> _feed.Events:
            return self._client.subscribe(start)

        return Events(self._run(begin()), self._thread)

    def update_token(self, token: str) -> datetime | None:
        """See `imd_client.Client.update_token`."""
        return self._run(self._client.update_token(token))

    def set_token_provider(self, provide: Callable[[TokenExpiring], str]) -> TokenProvider:
        """See `imd_client.Client.set_token_provider`. `provide` runs on a thread of its own, and may wait."""

        async def answer(expiring: TokenExpiring) -> str:
            return await asyncio.to_thread(provide, expiring)

        async def add() -> AsyncTokenProvider:
            return self._client.set_token_provider(answer)

        return TokenProvider(self._run(add()), self._thread)

    def disconnect(self) -> None:
        """See `imd_client.Client.disconnect`."""
        self._run(self._client.disconnect())

    def logout(self) -> None:
        """See `imd_client.Client.logout`."""
        self._run(self._client.logout())

    def fetch_status(self) -> Status:
        """See `imd_client.Client.fetch_status`."""
        return self._run(self._client.fetch_status())

    def ack_events(self, name: str, cursor: Cursor) -> None:
        """See `imd_client.Client.ack_events`."""
        self._run(self._client.ack_events(name, cursor))

    def get_message(self, uid: str) -> Message:
        """See `imd_client.Client.get_message`."""
        return self._run(self._client.get_message(uid))

    def get_message_by_id(self, message_id: int) -> Message:
        """See `imd_client.Client.get_message_by_id`."""
        return self._run(self._client.get_message_by_id(message_id))

    def list_messages(
        self, conversation: ConversationKey, *, before: int | None = None, after: int | None = None, limit: int = 0
    ) -> MessagePage:
        """See `imd_client.Client.list_messages`."""
        return self._run(self._client.list_messages(conversation, before=before, after=after, limit=limit))

    def search_messages(
        self, query: str, *, conversation: ConversationKey | None = None, before: int | None = None, limit: int = 0
    ) -> MessagePage:
        """See `imd_client.Client.search_messages`."""
        return self._run(self._client.search_messages(query, conversation=conversation, before=before, limit=limit))

    def delete_messages(self, message_ids: list[int] | tuple[int, ...]) -> int:
        """See `imd_client.Client.delete_messages`."""
        return self._run(self._client.delete_messages(message_ids))

    def retry_message(self, uid: str) -> Message:
        """See `imd_client.Client.retry_message`."""
        return self._run(self._client.retry_message(uid))

    def list_outbox(self, *, limit: int = 0, after: int | None = None) -> Outbox:
        """See `imd_client.Client.list_outbox`."""
        return self._run(self._client.list_outbox(limit=limit, after=after))

    def conversations(self, *, limit: int = 0, page: str | None = None) -> ConversationPage:
        """See `imd_client.Client.conversations`."""
        return self._run(self._client.conversations(limit=limit, page=page))

    def conversation(self, key: ConversationKey) -> Conversation:
        """See `imd_client.Client.conversation`."""
        return self._run(self._client.conversation(key))

    def update_conversation(
        self, key: ConversationKey, *, draft: str | None = None, pinned: bool | None = None, muted: bool | None = None
    ) -> Conversation:
        """See `imd_client.Client.update_conversation`."""
        return self._run(self._client.update_conversation(key, draft=draft, pinned=pinned, muted=muted))

    def mark_read(self, key: ConversationKey, *, up_to: int | None = None) -> int:
        """See `imd_client.Client.mark_read`."""
        return self._run(self._client.mark_read(key, up_to=up_to))

    def unread_count(self, *, include_muted: bool = False) -> int:
        """See `imd_client.Client.unread_count`."""
        return self._run(self._client.unread_count(include_muted=include_muted))

    def delete_conversation(self, key: ConversationKey, *, delete_messages: bool) -> None:
        """See `imd_client.Client.delete_conversation`."""
        self._run(self._client.delete_conversation(key, delete_messages=delete_messages))

    def join_group(self, group_id: str) -> None:
        """See `imd_client.Client.join_group`."""
        self._run(self._client.join_group(group_id))

    def quit_group(self, group_id: str) -> None:
        """See `imd_client.Client.quit_group`."""
        self._run(self._client.quit_group(group_id))

    def groups(self) -> tuple[Group, ...]:
        """See `imd_client.Client.groups`."""
        return self._run(self._client.groups())

    def version(self) -> Version:
        """See `imd_client.Client.version`."""
        return self._run(self._client.version())

    def apps(self) -> tuple[App, ...]:
        """See `imd_client.Client.apps`."""
        return self._run(self._client.apps())

    def status_history(self) -> tuple[StatusChange, ...]:
        """See `imd_client.Client.status_history`."""
        return self._run(self._client.status_history())

    def timeline(self, since: datetime) -> Timeline:
        """See `imd_client.Client.timeline`."""
        return self._run(self._client.timeline(since))

    def metrics(self) -> str:
        """See `imd_client.Client.metrics`."""
        return self._run(self._client.metrics())

    def diagnose(self, *, probe_broker: bool = False) -> tuple[Finding, ...]:
        """See `imd_client.Client.diagnose`."""
        return self._run(self._client.diagnose(probe_broker=probe_broker))

    def shutdown(self, reason: str) -> None:
        """See `imd_client.Client.shutdown`."""
        self._run(self._client.shutdown(reason))

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        return self._thread.run(work)

    def _later(self, callback: Callable[[T], object]) -> Callable[[T], object]:
        """The callback, on the thread for callbacks."""

        def call(value: T) -> None:
            self._callbacks.submit(_told, callback, value)

        return call


def _told(callback: Callable[[T], object], value: T) -> None:
    try:
        callback(value)
    except Exception:
        LOGGER.exception("a callback failed")


class _Later:
    """A connect's callbacks, on the thread for callbacks."""

    def __init__(
        self, later: Callable[[Callable[[Any], object]], Callable[[Any], object]], callback: ConnectCallback
    ) -> None:
        self._later = later
        self._callback = callback

    def on_database_opened(self, status: DatabaseOpenStatus) -> None:
        self._later(self._callback.on_database_opened)(status)

    def on_success(self, user_id: str) -> None:
        self._later(self._callback.on_success)(user_id)

    def on_error(self, error: ImdError) -> None:
        self._later(self._callback.on_error)(error)


class Sending:
    """A message on its way: see `imd_client.Sending`. To interrupt a wait cancels nothing."""

    def __init__(self, sending: _sending.Sending, thread: LoopThread) -> None:
        self._sending = sending
        self._thread = thread

    @property
    def uid(self) -> str:
        """The message's id."""
        return self._sending.uid

    def accepted(self) -> Message:
        """When the message is in the outbox, on disk: it will be sent, once, whatever dies."""
        return self._thread.run(self._sending.accepted())

    def sent(self) -> Message:
        """When the server has the message. Without a connection that may be long."""
        return self._thread.run(self._sending.sent())

    def received(self) -> Message:
        """When the peer's daemon has the message on disk. A peer who never comes back never has it."""
        return self._thread.run(self._sending.received())


class Events:
    """The events after a cursor, then every one that comes: see `imd_client.Events`. A context manager."""

    def __init__(self, events: _feed.Events, thread: LoopThread) -> None:
        self._events = events
        self._thread = thread

    def __iter__(self) -> Events:
        return self

    def __next__(self) -> Event:
        async def step() -> Event | None:
            return await anext(self._events, None)

        event = self._thread.run(step())
        if event is None:
            raise StopIteration
        return event

    def close(self) -> None:
        """Ends it, for one who waits on another thread too."""
        self._thread.run(self._events.aclose())

    def __enter__(self) -> Events:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class StatusChanges:
    """The status as it is, then every change: see `imd_client.StatusChanges`."""

    def __init__(self, changes: AsyncStatusChanges, thread: LoopThread) -> None:
        self._changes = changes
        self._thread = thread

    def __iter__(self) -> StatusChanges:
        return self

    def __next__(self) -> Status:
        async def step() -> Status | None:
            return await anext(self._changes, None)

        status = self._thread.run(step())
        if status is None:
            raise StopIteration
        return status

    def close(self) -> None:
        """Ends it, for one who waits on another thread too."""
        self._thread.run(self._changes.aclose())


class TokenProvider:
    """Keeps a token provider, until it is closed: a context manager. The daemon then asks another app."""

    def __init__(self, provider: AsyncTokenProvider, thread: LoopThread) -> None:
        self._provider = provider
        self._thread = thread

    def close(self) -> None:
        """Takes the provider away."""

        async def close() -> None:
            self._provider.close()

        self._thread.run(close())

    def __enter__(self) -> TokenProvider:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class StatusListener:
    """Keeps a status listener, until it is closed: a context manager."""

    def __init__(self, listener: AsyncStatusListener, thread: LoopThread) -> None:
        self._listener = listener
        self._thread = thread

    def close(self) -> None:
        """Takes the listener away; a call that has begun still ends."""

        async def close() -> None:
            self._listener.close()

        self._thread.run(close())

    def __enter__(self) -> StatusListener:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
