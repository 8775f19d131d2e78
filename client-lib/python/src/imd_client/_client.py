"""The handle an app holds."""

from __future__ import annotations

import asyncio
import os
import re
import sys
import uuid
from collections.abc import Coroutine, Generator
from datetime import datetime
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from imd_client import _connect, _methods, _renewal, _wire
from imd_client._binder import Binder, Identity
from imd_client._board import Listener, StatusChanges, StatusListener
from imd_client._calls import Calls
from imd_client._code_table import Code
from imd_client._connect import ConnectCallback, Connecting, Connector, OnDatabaseOpened, TimeLimit
from imd_client._endpoint import socket_path
from imd_client._errors import ImdError, IpcDisconnected, Sent, failure
from imd_client._event import Start
from imd_client._feed import Events, Feed
from imd_client._generated import session_pb2
from imd_client._message import Content, ConversationKey
from imd_client._renewal import Provide, TokenProvider
from imd_client._sending import Courier, Sending
from imd_client._status import Status
from imd_client._tasks import end

T = TypeVar("T")


class Building:
    """A client that is being made: `async with` it, or await it and close the client at the end."""

    def __init__(self, identity: Identity, wait_for_daemon: bool) -> None:
        self._identity = identity
        self._wait_for_daemon = wait_for_daemon
        self._client: Client | None = None

    async def _build(self) -> Client:
        binder = Binder(self._identity)
        try:
            await binder.start(wait_for_daemon=self._wait_for_daemon)
        except IpcDisconnected as error:
            # For one who is not bound yet, no library will bind again.
            action = "Start the daemon: imd. `imctl doctor` says more."
            raise failure(error.code, error.text, error.sent, action) from None
        return Client(binder)

    def __await__(self) -> Generator[Any, None, Client]:
        return self._build().__await__()

    async def __aenter__(self) -> Client:
        self._client = await self._build()
        return self._client

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._client is not None:
            await self._client.close()


class Client(Calls):
    """An app's binding to the daemon.

    It belongs to the event loop that it was built in. To close it unbinds the app, which ends nothing else: the
    daemon keeps the connection.
    """

    def __init__(self, binder: Binder) -> None:
        """Made by `Client.build`."""
        self._binder = binder
        self._tasks: set[asyncio.Task[Any]] = set()
        self._connector = Connector(binder, self._spawn)
        self._courier = Courier(binder, self._spawn)
        self._events: set[Events] = set()
        self._callbacks: set[asyncio.Task[None]] = set()
        self._provider: TokenProvider | None = None
        self._is_closed = False

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
    ) -> Building:
        """Init: binds an app with this App Key (1 to 64 characters of `A-Z a-z 0-9 _ -`) to the user's daemon.

        `app_key=None` is a tool that looks on: its connect is refused with 33001. `app_id` is in reverse DNS form
        (`org.example.Chat`); the default is `app.` and the name of the program. `socket` and `instance` name
        another daemon than the user's own. With `wait_for_daemon` the client is there at once, reads "daemon
        lost", and binds when a daemon comes.

        Raises, when awaited or entered: -2 (no daemon listens), 34257 and 33003 (no App Key, no app id), 90001 (the
        daemon does not answer within 2 seconds), 90003 (it speaks another protocol), 90009 (the socket is another
        user's); and at once 90010 (there is no such socket path).
        """
        identity = Identity(
            socket=socket_path(socket, instance),
            app_id=program() if app_id is None else app_id,
            app_version=app_version,
            instance_id=str(uuid.uuid4()),
            app_key=app_key,
        )
        return Building(identity, wait_for_daemon)

    @property
    def instance_id(self) -> str:
        """The random id of this instance of the app: the same over all bindings."""
        return self._binder.identity.instance_id

    async def close(self) -> None:
        """Unbinds the app. Pending calls end with -2, streams without an error."""
        if self._is_closed:
            return
        self._is_closed = True
        for events in tuple(self._events):
            await events.aclose()
        await end(self._tasks)
        self._connector.close()
        self._courier.close()
        await self._binder.close()
        # They end with on_error.
        if self._callbacks:
            await asyncio.wait(self._callbacks)

    def connect(
        self,
        token: str,
        *,
        time_limit: TimeLimit | None = None,
        user_id: str | None = None,
        on_database_opened: OnDatabaseOpened | None = None,
    ) -> Connecting:
        """Asks for the connection: at once, whether the answer is awaited or not.

        Awaited it gives the user id once the connection is up, from where on the daemon keeps it; or raises the
        error with which the daemon has given up for this app. Faults that heal by themselves are no errors: they
        show in the status. The death of the daemon is one of them, and its silence: it is asked again for the same
        connect.

        `time_limit` bounds this first connect, in seconds: after it 34006. Without one, or with 0 or less, it
        waits until success or a terminal code. `user_id`, where the app knows it, lets the history be read at
        once, even with no network. `on_database_opened` is called in the event loop, at most once and before the
        end; `Connecting.database_opened` waits for the same.
        """
        self._check()
        return self._connector.connect(token, time_limit, user_id, on_database_opened)

    def connect_with(
        self,
        token: str,
        callback: ConnectCallback,
        *,
        time_limit: TimeLimit | None = None,
        user_id: str | None = None,
    ) -> None:
        """As `connect`, with callbacks. They are called in the event loop."""
        connecting = self.connect(token, time_limit=time_limit, user_id=user_id)
        task = asyncio.get_running_loop().create_task(_connect.call_back(connecting, callback))
        self._callbacks.add(task)
        task.add_done_callback(self._callbacks.discard)

    async def update_token(self, token: str) -> datetime | None:
        """Gives the connection a new token for its next login, and drops nothing: it is on the daemon's disk when
        this is answered, and is tried first from then on. If the server refuses it, the one before is used again.

        Gives when the new token ends; None where it does not say. Raises 90014 without a connection (after 31020
        too: connect with the new token then) and 31004 for a token of another user or App Key.
        """
        return await self._shielded(self._update_token(token))

    async def _update_token(self, token: str) -> datetime | None:
        answer = await self._call(_methods.UPDATE_TOKEN, session_pb2.UpdateTokenRequest(token=token))
        self._connector.renewed(token)
        return _wire.time(answer.expire_time) if answer.HasField("expire_time") else None

    def set_token_provider(self, provide: Provide) -> TokenProvider:
        """Lets the daemon ask this app for a new token when the present one, a JWT, nears its end. What `provide`
        gives goes to `update_token`. Of all apps with a provider one is asked at a time; one that raises, or gives
        nothing within the lease (30 seconds, or a quarter of the time that is left), is followed by the next.

        It is awaited in the event loop, and goes on with the next daemon until the guard is closed. A client has
        one provider: another one takes its place.
        """
        self._check()
        if self._provider is not None:
            self._provider.close()
        self._provider = TokenProvider(self._spawn(_renewal.offer(self._binder, provide, self.update_token)))
        return self._provider

    async def disconnect(self) -> None:
        """Ends the connection for every app. The server keeps the session, so messages queue up there."""
        await self._end(self._call(_methods.DISCONNECT, session_pb2.DisconnectRequest()))

    async def logout(self) -> None:
        """Ends the connection for every app, ends the session on the server and erases the token."""
        await self._end(self._call(_methods.LOGOUT, session_pb2.LogoutRequest()))

    async def _end(self, call: Coroutine[Any, Any, object]) -> None:
        try:
            await call
        except ImdError as error:
            if error.sent is Sent.UNKNOWN:
                self._connector.signed_out()
            raise
        self._connector.signed_out()
        await self._shielded(self._connector.refresh())

    @property
    def status(self) -> Status:
        """The status as the daemon last told it; "daemon lost" while there is none."""
        return self._binder.board.current

    async def fetch_status(self) -> Status:
        """Asks the daemon for the status."""
        run_id = self._binder.board.current.daemon_run_id
        answer = await self._call(_methods.GET_STATUS, session_pb2.GetStatusRequest())
        return _wire.status(answer.status, run_id)

    def status_changes(self) -> StatusChanges:
        """The status as it is, then every change."""
        return StatusChanges(self._binder.board)

    def add_connection_status_listener(self, listener: Listener) -> StatusListener:
        """Calls `listener` in the event loop with the status as it is, then with every change, until the guard is
        closed. The loss of the daemon is told exactly once each time."""
        return StatusListener(self._binder.board, listener)

    def send_message(self, conversation: ConversationKey, content: Content) -> Sending:
        """Sends a message. It is handed to the daemon at once, whether the answer is awaited or not; those of one
        conversation in the order of the calls.

        What `Sending.accepted` has answered is on disk and will be sent once, whatever dies. Without a connection
        it waits.
        """
        self._check()
        return self._courier.send(conversation, content)

    def send_text(self, to_user_id: str, text: str) -> Sending:
        """Sends a text to a user."""
        return self.send_message(ConversationKey.private(to_user_id), Content.text(text))

    def subscribe(self, start: Start) -> Events:
        """The events from there on; the first one says where they begin, once an account is open."""
        self._check()
        events = Events(Feed(self._binder, start), self._events.discard)
        self._events.add(events)
        return events

    async def delete_messages(self, message_ids: list[int] | tuple[int, ...]) -> int:
        """Deletes messages from this machine, at most 1,000; gives how many there were. One that has not been sent
        is not sent any more."""
        deleted = await super().delete_messages(message_ids)
        self._courier.deleted(frozenset(message_ids))
        return deleted

    def _check(self) -> None:
        if self._is_closed:
            raise failure(Code.IPC_DISCONNECT, "the Client is closed", Sent.NO)

    def _spawn(self, work: Coroutine[Any, Any, T]) -> asyncio.Task[T]:
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    async def _shielded(self, work: Coroutine[Any, Any, T]) -> T:
        """What has been asked of the daemon is not taken back by one who waits no longer."""
        if self._is_closed:
            work.close()
            self._check()
        task = self._spawn(work)
        try:
            return await asyncio.shield(task)
        except asyncio.CancelledError:
            # What the client does by itself ends with it.
            if task.cancelled() and asyncio.current_task() not in self._tasks:
                raise failure(
                    Code.IPC_DISCONNECT, "the Client was closed before the answer came", Sent.UNKNOWN
                ) from None
            task.add_done_callback(_take)
            raise


def _take(task: asyncio.Task[Any]) -> None:
    if not task.cancelled():
        task.exception()


def program() -> str:
    """An app id for a program that names none."""
    name = Path(sys.argv[0] if sys.argv and sys.argv[0] else "unnamed").name
    return "app." + re.sub(r"[^A-Za-z0-9_-]", "-", name)[:200]
