"""Connect: one request, onDatabaseOpened at most once, then exactly one of onSuccess and onError."""

from __future__ import annotations

import asyncio
import math
import uuid
from collections.abc import Callable, Coroutine, Generator
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Protocol, TypeAlias, TypeVar

from imd_client import _clock, _methods, _wire
from imd_client._binder import Binder
from imd_client._code_table import Code
from imd_client._errors import ImdError, Sent, closed, failure, gone, is_loss
from imd_client._generated import session_pb2
from imd_client._keeper import Keeper, Kept, Request, Revival, revival
from imd_client._link import DEADLINE, Link
from imd_client._signal import Signal
from imd_client._status import Status

_AGAIN = 1.0
"""Seconds before a daemon that did not answer is asked again."""

T = TypeVar("T")

NAME = _methods.CONNECT.name

LONGEST_LIMIT = 2**31 - 1

SLICE = 5.0
"""The loop's timers stand still while the machine sleeps: so often the boot clock is looked at."""

TimeLimit: TypeAlias = float | timedelta


@dataclass(frozen=True)
class DatabaseOpenStatus:
    """What onDatabaseOpened says."""

    code: Code
    """0: the local history can be read. 33002: it can't, and onError follows."""
    text: str
    """What happened to the database, for people to read: empty unless something did."""

    @property
    def is_open(self) -> bool:
        """Whether the local history can be read."""
        return self.code == 0


OnDatabaseOpened: TypeAlias = Callable[[DatabaseOpenStatus], object]


class ConnectCallback(Protocol):
    """The three callbacks of a connect: of `on_success` and `on_error` exactly one is called, once."""

    def on_database_opened(self, status: DatabaseOpenStatus) -> None:
        """The local history can be read, or never will be: at most once, before the other two."""

    def on_success(self, user_id: str) -> None:
        """The connection is up. The daemon keeps it so from here on."""

    def on_error(self, error: ImdError) -> None:
        """The daemon has given up for this app, and does nothing further until it connects again."""


class Connecting:
    """A connect that has been asked for: await it for the user id.

    It may be awaited more than once. Cancelling the wait cancels nothing.
    """

    def __init__(self, on_database_opened: OnDatabaseOpened | None = None) -> None:
        self._on_opened = on_database_opened
        self._opened: DatabaseOpenStatus | None = None
        self._outcome: str | ImdError | None = None
        self._signal = Signal()

    async def database_opened(self) -> DatabaseOpenStatus:
        """When the account's database is open, which is before any network where the user is known.

        Raises the connect's own error, where it ends before the database was opened.
        """
        told = await self._signal.wait_for(lambda: self._opened or self._outcome)
        match told:
            case DatabaseOpenStatus():
                return told
            case ImdError():
                raise told
            case _:
                # A connection without an open database does not exist.
                return DatabaseOpenStatus(Code(0), "")

    async def _result(self) -> str:
        outcome: str | ImdError = await self._signal.wait_for(lambda: self._outcome)
        if isinstance(outcome, ImdError):
            raise outcome
        return outcome

    def __await__(self) -> Generator[Any, None, str]:
        return self._result().__await__()

    @property
    def is_opened(self) -> bool:
        """Whether onDatabaseOpened was told."""
        return self._opened is not None

    def tell_opened(self, status: DatabaseOpenStatus) -> None:
        """onDatabaseOpened, once."""
        if self._opened is None and self._outcome is None:
            self._opened = status
            self._signal.notify()
            if self._on_opened is not None:
                asyncio.get_running_loop().call_soon(self._on_opened, status)

    def tell_outcome(self, outcome: str | ImdError) -> None:
        """onSuccess or onError, once."""
        if self._outcome is None:
            self._outcome = outcome
            self._signal.notify()


def seconds(limit: TimeLimit | None) -> int:
    """A time limit in whole seconds, rounded up, so that it is never cut down to none; 0 is none."""
    if limit is None:
        return 0
    wanted = limit.total_seconds() if isinstance(limit, timedelta) else limit
    return min(math.ceil(wanted), LONGEST_LIMIT) if wanted > 0 else 0


class Connector:
    """Makes an app's connects, and takes them up again when the daemon was started again."""

    def __init__(self, binder: Binder, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._binder = binder
        self._spawn = spawn
        self._keeper = Keeper()
        self._waiting: set[Connecting] = set()
        binder.on_status = self._keeper.sees
        binder.on_bound = self._bound

    def connect(
        self,
        token: str,
        limit: TimeLimit | None,
        user_id: str | None,
        on_database_opened: OnDatabaseOpened | None,
    ) -> Connecting:
        """Asks for the connection."""
        connecting = Connecting(on_database_opened)
        request = Request(str(uuid.uuid4()), token, user_id)
        has_link = self._binder.bound_link() is not None
        run_id = self._binder.board.current.daemon_run_id if has_link else None
        if self._keeper.must_refuse(run_id):
            text = "this app is connected, or being connected, already"
            connecting.tell_outcome(failure(Code.RC_CONNECTION_EXIST, text, Sent.NO))
            return connecting
        self._keeper.begins(request)
        whole = seconds(limit)
        until = _clock.now() + whole if whole else None
        self._waiting.add(connecting)
        self._spawn(self._run(request, until, connecting))
        return connecting

    def close(self) -> None:
        """Nothing is waited for any longer."""
        for connecting in self._waiting:
            connecting.tell_outcome(closed(NAME))

    def renewed(self, token: str) -> None:
        """UpdateToken has brought another token."""
        self._keeper.renewed(token)

    def signed_out(self) -> None:
        """Disconnect or logout was called."""
        self._keeper.signed_out()

    async def refresh(self) -> Status:
        """Status and answers travel on streams of their own. After an answer that changes the status the app
        must not read the old one."""
        board = self._binder.board
        try:
            link = self._binder.current(_methods.GET_STATUS.name)
            run_id = board.current.daemon_run_id
            answer = await link.exchange(_methods.GET_STATUS, session_pb2.GetStatusRequest())
        except ImdError:
            # The status comes by the Bind stream, or the daemon is gone.
            return board.current
        status = _wire.status(answer.status, run_id)
        if link is self._binder.bound_link():
            board.publish(status)
            self._keeper.sees(status)
        return status

    async def _run(self, request: Request, until: float | None, connecting: Connecting) -> None:
        try:
            user_id = await self._follow(request, until, connecting)
        except ImdError as error:
            self._keeper.failed(request)
            if error.sent is Sent.YES:
                await self.refresh()
            connecting.tell_outcome(error)
        else:
            status = await self.refresh()
            self._keeper.succeeded(request, replace(status, user_id=user_id, app_key=self._app_key(status)))
            self._keeper.sees(status)
            connecting.tell_outcome(user_id)
        self._waiting.discard(connecting)

    def _app_key(self, status: Status) -> str:
        return status.app_key or self._binder.identity.app_key or ""

    async def _follow(self, request: Request, until: float | None, connecting: Connecting) -> str:
        """Makes the connect at one daemon after another, until one has answered it."""
        sent, link = Sent.NO, None
        while True:
            link = await self._within(until, self._binder.next_link(link), sent)
            try:
                return await self._issue(link, request, until, connecting)
            except ImdError as error:
                is_silence = error.code == Code.IMD_DEADLINE_EXCEEDED
                if not is_silence and not is_loss(error):
                    raise
                if error.sent is not Sent.NO:
                    sent = Sent.UNKNOWN
                if is_silence:
                    # It may still carry it out, and would refuse the next connect of an app that were told of an
                    # error. Its answer, its death, or the limit ends this.
                    await self._within(until, asyncio.sleep(_AGAIN), sent)
                    link = None

    async def _issue(self, link: Link, request: Request, until: float | None, connecting: Connecting | None) -> str:
        """Makes the connect at one daemon, and follows it to its end."""
        left = None if until is None else max(until - _clock.now(), 0.0)
        stream = await link.open(
            _methods.CONNECT,
            session_pb2.ConnectRequest(
                token=request.token,
                user_id=request.user_id or "",
                connect_id=request.connect_id,
                # What is left of a limit is never none.
                time_limit_seconds=0 if left is None else max(math.ceil(left), 1),
                database_opened_seen=connecting is None or connecting.is_opened,
                # What had succeeded gives way to whoever has signed out in the meantime.
                resumes=connecting is None,
            ),
        )
        try:
            while True:
                limit = None if until is None else until + DEADLINE
                answer = await self._within(limit, stream.read(), Sent.UNKNOWN)
                if answer is None:
                    raise gone(NAME, "the daemon has ended the wait", Sent.UNKNOWN)
                match answer.WhichOneof("event"):
                    case "database_opened" if connecting is not None:
                        opened = answer.database_opened
                        connecting.tell_opened(DatabaseOpenStatus(Code(opened.code), opened.text))
                    case "success":
                        return answer.success.user_id
                    case "error":
                        error = answer.error
                        raise failure(error.code, error.text, Sent.YES, error.action)
                    case _:
                        # A later daemon's event.
                        pass
        finally:
            stream.close()

    async def _within(self, until: float | None, waited: Coroutine[Any, Any, T], sent: Sent) -> T:
        """Waits as long as the time limit allows."""
        task = asyncio.ensure_future(waited)
        try:
            while True:
                left = None if until is None else until - _clock.now()
                if left is not None and left <= 0:
                    text = "no connection within the time limit: there is no daemon that answers"
                    raise failure(Code.RC_CONNECT_TIMEOUT, text, sent)
                await asyncio.wait({task}, timeout=None if left is None else min(left, SLICE))
                if task.done():
                    return task.result()
        finally:
            task.cancel()

    def _bound(self, status: Status) -> None:
        request = self._keeper.bound(status)
        if request is not None:
            self._spawn(self._reissue(request, status))

    async def _reissue(self, request: Request, status: Status) -> None:
        """Lets the daemon know that this app is connected. The app is told nothing: the status shows it."""
        link = await self._binder.next_link()
        while True:
            try:
                await self._issue(link, request, None, None)
                break
            except ImdError as error:
                if is_loss(error):
                    return  # The next daemon is told.
                if error.code != Code.IMD_DEADLINE_EXCEEDED:
                    self._keeper.failed(request)
                    return
            # It is there, and did not answer: it is told again, unless the connection has ended meanwhile.
            await asyncio.sleep(_AGAIN)
            now = await self.refresh()
            kept = self._keeper.state
            if self._binder.bound_link() is not link or not isinstance(kept, Kept) or kept.request != request:
                return
            if revival(kept, now) is Revival.ENDED:
                self._keeper.failed(request)
                return
        kept = self._keeper.state
        if isinstance(kept, Kept) and kept.request == request:
            now = await self.refresh()
            self._keeper.succeeded(
                request,
                replace(status, app_key=kept.app_key, user_id=kept.user_id, generation=now.generation),
            )


async def call_back(connecting: Connecting, callback: ConnectCallback) -> None:
    """Tells the callbacks what the connect comes to."""
    try:
        opened = await connecting.database_opened()
    except ImdError:
        pass
    else:
        if connecting.is_opened:
            callback.on_database_opened(opened)
    try:
        user_id = await connecting
    except ImdError as error:
        callback.on_error(error)
    else:
        callback.on_success(user_id)
