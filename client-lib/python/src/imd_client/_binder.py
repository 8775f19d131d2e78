"""Binding: dial, hello, Init; following the Bind stream until the daemon is gone; and binding again."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from imd_client import _clock, _methods, _wire
from imd_client._board import Board
from imd_client._code_table import Code
from imd_client._endpoint import Pin, unreachable
from imd_client._errors import ImdError, Sent, failure, gone, lacks, silent
from imd_client._generated import session_pb2
from imd_client._link import DEADLINE, Link, Stream
from imd_client._redial import Redial
from imd_client._signal import Signal
from imd_client._status import Loss, Status, daemon_lost
from imd_client._tasks import end

LOGGER = logging.getLogger("imd_client")

PROTOCOL_MIN = 1
PROTOCOL_MAX = 1

KEEP_ALIVE = 120.0
"""Between two looks at whether the daemon still answers, in seconds."""

KEEP_ALIVE_TIMEOUT = 5.0
"""How long it may take to answer then."""


@dataclass(frozen=True)
class Identity:
    """Who binds, and where: the same for every binding of one client."""

    socket: Path
    app_id: str
    app_version: str
    instance_id: str
    """Random for each client, and kept for its life."""
    app_key: str | None
    """None: a tool that looks on, and makes no Init."""


@dataclass(frozen=True)
class Bound:
    """A binding as it begins."""

    link: Link
    events: Stream[session_pb2.BindResponse]
    status: Status


async def bind(identity: Identity, gone_run: str | None) -> Bound:
    """Binds, within the deadline in all. A run that has said goodbye counts as nobody."""
    pin = Pin(identity.socket)
    try:
        link = Link(pin)
    except BaseException:
        pin.close()
        raise
    try:
        return await asyncio.wait_for(_bind(identity, pin, link, gone_run), DEADLINE)
    except ImdError:
        # First, for some of them are an OSError or a TimeoutError too.
        await link.close()
        raise
    except asyncio.TimeoutError:
        await link.close()
        raise silent("Bind", DEADLINE, Sent.UNKNOWN) from None
    except OSError as error:
        # Such as: no descriptor is left.
        await link.close()
        raise unreachable(identity.socket, error) from None
    except BaseException:
        await link.close()
        raise


async def _bind(identity: Identity, pin: Pin, link: Link, gone_run: str | None) -> Bound:
    await pin.check()
    request = session_pb2.BindRequest(
        app_id=identity.app_id,
        instance_id=identity.instance_id,
        app_version=identity.app_version,
        protocol_min=PROTOCOL_MIN,
        protocol_max=PROTOCOL_MAX,
    )
    events = await link.open(_methods.BIND, request)
    first = await events.read()
    if first is None or first.WhichOneof("event") != "hello":
        text = "what listens at the socket is not an imd this library can speak with: its first word is no hello"
        raise failure(Code.IMD_VERSION_SKEW, text, Sent.YES)
    hello = first.hello
    if not PROTOCOL_MIN <= hello.protocol <= PROTOCOL_MAX:
        text = (
            f"the daemon (imd {hello.daemon_version}) speaks protocol {hello.protocol} with an app that asked for "
            f"{PROTOCOL_MIN} to {PROTOCOL_MAX}"
        )
        raise failure(Code.IMD_VERSION_SKEW, text, Sent.YES)
    # An absent status must not be taken for the number 0, CONNECTED.
    if not hello.HasField("status"):
        raise lacks("Bind", "status")
    if gone_run is not None and hello.daemon_run_id == gone_run:
        raise gone("Bind", "the daemon is stopping", Sent.NO)
    link.bound(hello.binding_id)
    if identity.app_key is not None:
        await link.call(_methods.INIT, session_pb2.InitRequest(app_key=identity.app_key))
    LOGGER.debug("bound to imd %s, protocol %d", hello.daemon_version, hello.protocol)
    return Bound(link, events, _wire.status(hello.status, hello.daemon_run_id))


class Binder:
    """Keeps an app bound: one task, one dial at a time."""

    def __init__(self, identity: Identity) -> None:
        self.identity = identity
        self.board = Board(daemon_lost(None, Loss.NOT_YET_THERE, "there has been no daemon so far"))
        self.lost_at = _clock.now()
        # When it was bound, if there was no daemon before it: that one may still be opening the account.
        self.after_outage: float | None = None
        # Called at the beginning of each binding, and with each of its statuses.
        self.on_bound: Callable[[Status], None] = lambda _status: None
        self.on_status: Callable[[Status], None] = lambda _status: None
        self._link: Link | None = None
        self._signal = Signal()
        self._gone_run: str | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self, *, wait_for_daemon: bool) -> None:
        """Binds for the first time; with `wait_for_daemon` whenever there is a daemon."""
        bound: Bound | None = None
        try:
            bound = await bind(self.identity, None)
            self._begin(bound)
        except ImdError as error:
            if not wait_for_daemon:
                raise
            self.board.still_lost(error.code, error.text)
        self._task = asyncio.get_running_loop().create_task(self._run(bound))

    async def close(self) -> None:
        """Unbinds."""
        if self._task is not None:
            await end({self._task})
        self.board.close()

    def current(self, call: str) -> Link:
        """The link, for a call that is not made without one."""
        link = self._link
        if link is None:
            raise gone(call, self.board.current.reason, Sent.NO)
        if link.loss is not None:
            raise gone(call, link.reason, Sent.NO)
        return link

    def bound_link(self, after: Link | None = None) -> Link | None:
        """The link, if there is one, and another than this."""
        link = self._link
        return link if link is not None and link is not after and link.loss is None else None

    async def next_link(self, after: Link | None = None) -> Link:
        """Waits for a link, and another than this."""
        return await self._signal.wait_for(lambda: self.bound_link(after))

    async def _run(self, bound: Bound | None) -> None:
        redial = Redial()
        while True:
            if bound is None:
                bound = await self._dial(redial)
                self.after_outage = _clock.now()
                self._begin(bound)
            began = _clock.now()
            try:
                await self._live(bound)
            finally:
                await bound.link.close()
            redial.lived(_clock.now() - began)
            bound = None

    async def _dial(self, redial: Redial) -> Bound:
        seen = _name(self.identity.socket)
        while True:
            pause = redial.next_pause()
            until = _clock.now() + pause
            while (left := until - _clock.now()) > 0:
                await asyncio.sleep(min(left, redial.look(pause)))
                if (name := _name(self.identity.socket)) != seen:
                    seen = name
                    if name is not None:
                        redial.restart()
                        break
            try:
                return await bind(self.identity, self._gone_run)
            except ImdError as error:
                self.board.still_lost(error.code, error.text)

    def _begin(self, bound: Bound) -> None:
        self._link = bound.link
        self.board.found(bound.status)
        self.on_bound(bound.status)
        self._signal.notify()

    async def _live(self, bound: Bound) -> None:
        """One binding, to the loss, which is told here: once."""
        link = bound.link
        following = asyncio.ensure_future(self._follow(bound))
        beating = asyncio.ensure_future(self._keep_alive(link))
        down = asyncio.ensure_future(link.is_down())
        try:
            await asyncio.wait({following, beating, down}, return_when=asyncio.FIRST_COMPLETED)
            if link.loss is None:
                link.lose(Loss.DIED, "the daemon cannot be followed", at_once=True)
            loss, reason = link.loss or (Loss.DIED, link.reason)
            LOGGER.info("the daemon is lost: %s", reason)
            self._link = None
            self.lost_at = _clock.now()
            self.board.lost(loss, reason)
            # Nothing is dialled before the socket is closed; calls in flight may be answered until then.
            await down
        finally:
            for task in (following, beating, down):
                task.cancel()
            await asyncio.wait({following, beating, down})
            bound.events.close()

    async def _follow(self, bound: Bound) -> None:
        """Publishes the status changes, until the stream ends."""
        link, run_id = bound.link, bound.status.daemon_run_id
        goodbye: str | None = None
        try:
            while (answer := await bound.events.read()) is not None:
                match answer.WhichOneof("event"):
                    case "status":
                        status = _wire.status(answer.status, run_id)
                        self.board.publish(status)
                        self.on_status(status)
                    case "goodbye":
                        goodbye = f"the daemon has stopped: {answer.goodbye.reason}"
                        self._gone_run = run_id
                    case _:
                        # A second hello has no meaning, and an unknown event is a later daemon's.
                        pass
        except ImdError as error:
            at_once = error.sent is not Sent.YES
            reason = "the connection to the daemon was closed" if at_once else how_ended(error)
        else:
            at_once, reason = False, "the daemon has ended the binding"
        if goodbye is not None:
            link.lose(Loss.STOPPED, goodbye, at_once=at_once)
        else:
            link.lose(Loss.DIED, reason, at_once=at_once)

    async def _keep_alive(self, link: Link) -> None:
        """Finds out a daemon that hangs."""
        while True:
            await asyncio.sleep(KEEP_ALIVE)
            try:
                await link.exchange(_methods.GET_STATUS, session_pb2.GetStatusRequest(), KEEP_ALIVE_TIMEOUT)
            except ImdError as error:
                if error.code == Code.IMD_DEADLINE_EXCEEDED:
                    link.lose(Loss.HUNG, "the daemon is there, but does not answer", at_once=True)
                    return


def how_ended(error: ImdError) -> str:
    """How a daemon that is still there has ended the binding, for people to read. It takes an instance id once: this
    client has but one binding, so it was another that bound it again."""
    if error.code == Code.IMD_NOT_BOUND:
        return f"another process uses the instance id of this one: {error.text}"
    return error.text


def _name(path: Path) -> tuple[int, int] | None:
    """What the socket's name leads to, if anything."""
    try:
        found = os.stat(path)
    except OSError:
        return None
    return found.st_ino, found.st_ctime_ns
