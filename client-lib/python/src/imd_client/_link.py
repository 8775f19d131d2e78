"""One link to the daemon: a channel that is dialled once, and calls that end, whatever the daemon does."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Coroutine
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message
from grpc import aio

from imd_client._code_table import Code
from imd_client._endpoint import Pin
from imd_client._errors import ImdError, Sent, failure, from_status, gone, silent
from imd_client._methods import BIND, Method
from imd_client._status import Loss

Req = TypeVar("Req", bound=Message)
Res = TypeVar("Res", bound=Message)
T = TypeVar("T")

BINDING = "imd-binding"
"""The metadata by which a call names its app's binding."""

DEADLINE = 2.0
"""Seconds for a call, and for a stream's first answer."""

LONG_DEADLINE = 30.0
"""Seconds for a search, which first brings its index up to date, and for Diagnose."""

GRACE = 0.5
"""How long calls in flight may still be answered after the daemon has ended the binding."""

MAX_CALLS = 65
"""The most calls of one client at a time, the binding's own with them; beyond them the daemon would queue calls in
silence."""

MAX_ANSWER = 32 * 1024 * 1024
"""A page of 200 messages of 128 KiB each, and what is around them."""

OPTIONS = (
    # The name of a socket is no legal authority, and the daemon would refuse it.
    ("grpc.default_authority", "localhost"),
    # Channels share connections to the same name otherwise, and a fresh one would not be fresh.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    # Whether a call is made again is decided here, by what it does.
    ("grpc.enable_retries", 0),
    ("grpc.service_config_disable_resolution", 1),
    ("grpc.max_receive_message_length", MAX_ANSWER),
)


class Link:
    """A dialled daemon, and, once it has said hello, the binding to it."""

    def __init__(self, pin: Pin) -> None:
        self._pin = pin
        self._channel = aio.insecure_channel(f"unix:{pin.name}", options=OPTIONS)
        self._binding = ""
        self._calls = 0
        self._tasks: set[asyncio.Task[None]] = set()
        # Why no further call can be made.
        self.loss: tuple[Loss, str] | None = None
        # Set when that is known.
        self._lost: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Set when nothing waits any longer.
        self._down: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def bound(self, binding: str) -> None:
        """The daemon's hello: calls are made for this binding from here on."""
        self._binding = binding

    def lose(self, loss: Loss, reason: str, *, at_once: bool) -> None:
        """Nobody makes another call; those in flight may still be answered, unless the socket is closed."""
        if self.loss is None:
            self.loss = (loss, reason)
            self._lost.set_result(None)
        if at_once:
            self._end()
        elif not self._down.done() and not self._tasks:
            task = asyncio.get_running_loop().create_task(self._leave())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _leave(self) -> None:
        ready = grpc.ChannelConnectivity.READY
        if self._channel.get_state() is ready:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._channel.wait_for_state_change(ready), GRACE)
        self._end()

    def _end(self) -> None:
        if not self._down.done():
            self._down.set_result(None)

    async def is_down(self) -> None:
        """Waits until nothing waits for this link any longer."""
        await asyncio.shield(self._down)

    async def close(self) -> None:
        """Closes the socket."""
        self._end()
        for task in tuple(self._tasks):
            task.cancel()
        await self._channel.close()
        self._pin.close()

    async def call(self, method: Method[Req, Res], request: Req, deadline: float = DEADLINE) -> Res:
        """Makes a call that has one answer."""
        self._take_place(method.name)
        try:
            return await self.exchange(method, request, deadline)
        finally:
            self._calls -= 1

    async def exchange(self, method: Method[Req, Res], request: Req, deadline: float = DEADLINE) -> Res:
        """As `call`, for one who counts his calls himself."""
        self._check(method.name)
        made = self._channel.unary_unary(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )(request, metadata=self._metadata())

        async def answer() -> Res:
            return await made

        return await self.bounded(method.name, answer(), deadline)

    async def open(self, method: Method[Req, Res], request: Req) -> Stream[Res]:
        """Makes a call that has a stream of answers, and waits until the daemon has taken it."""
        self._take_place(method.name)
        made = self._channel.unary_stream(
            method.path,
            request_serializer=method.request.SerializeToString,
            response_deserializer=method.response.FromString,
        )(request, metadata=self._metadata())
        stream: Stream[Res] = Stream(self, method.name, made)

        async def headers() -> None:
            await made.initial_metadata()

        try:
            await self.bounded(method.name, headers(), DEADLINE)
        except BaseException:
            stream.close()
            raise
        return stream

    def left(self) -> None:
        """A stream has ended."""
        self._calls -= 1

    async def bounded(self, name: str, answer: Coroutine[Any, Any, T], deadline: float | None) -> T:
        """The answer, the end of the link or the deadline: whichever is first, and in this order when
        together, so that an answer that has come is never thrown away."""
        task = asyncio.ensure_future(answer)
        try:
            waited: set[asyncio.Future[Any]] = {task, self._down}
            await asyncio.wait(waited, timeout=deadline, return_when=asyncio.FIRST_COMPLETED)
            if task.done():
                return task.result()
        except aio.AioRpcError as status:
            raise await self._judge(name, status) from None
        finally:
            if not task.done():
                task.cancel()
                # An error that comes with the end has nobody left to be told.
                task.add_done_callback(_take)
        if self._down.done():
            raise gone(name, self.reason, Sent.UNKNOWN)
        raise silent(name, deadline or 0.0, Sent.UNKNOWN)

    @property
    def reason(self) -> str:
        """Why the daemon is gone."""
        return "the daemon is gone" if self.loss is None else self.loss[1]

    async def _judge(self, name: str, status: aio.AioRpcError) -> ImdError:
        error = from_status(name, status)
        if error.sent is Sent.YES:
            if error.code == Code.IMD_NOT_BOUND and self._binding and name != BIND.name:
                # The daemon has ended the binding: how, is told by the Bind stream, perhaps as a goodbye that has not
                # been read yet.
                await self._told_how()
                self.lose(Loss.DIED, "the daemon was started again", at_once=True)
                return gone(name, self.reason, Sent.NO)
            return error
        if name == BIND.name or error.code not in (Code.IPC_DISCONNECT, Code.IMD_INTERNAL):
            return error
        # The transport names the end of the link in many ways; the Bind stream tells whether it was one.
        if self._binding:
            await self._told_how()
        if self.loss is None and error.code == Code.IPC_DISCONNECT:
            self.lose(Loss.DIED, "the connection to the daemon broke", at_once=True)
        return error if self.loss is None else gone(name, self.reason, Sent.UNKNOWN)

    async def _told_how(self) -> None:
        """Waits until it is known how the link has ended, if it has: not for long."""
        await asyncio.wait({self._lost}, timeout=GRACE)

    def _check(self, name: str) -> None:
        if self.loss is not None:
            raise gone(name, self.reason, Sent.NO)

    def _take_place(self, name: str) -> None:
        self._check(name)
        if self._calls >= MAX_CALLS:
            text = f"{name}: {MAX_CALLS - 1} calls of this client are waiting already"
            raise failure(Code.IMD_TOO_MANY, text, Sent.NO)
        self._calls += 1

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return ((BINDING, self._binding),) if self._binding else ()


class Stream(Generic[Res]):
    """The answers of one call."""

    def __init__(self, link: Link, name: str, call: aio.UnaryStreamCall[Any, Res]) -> None:
        self._link = link
        self._name = name
        self._call = call
        self._is_open = True

    async def read(self, deadline: float | None = None) -> Res | None:
        """The next answer; None at the end."""

        async def answer() -> Res | None:
            read = await self._call.read()
            return None if read is aio.EOF else read  # type: ignore[return-value]

        return await self._link.bounded(self._name, answer(), deadline)

    def close(self) -> None:
        """Ends the call. For the daemon that is the end of somebody's waiting, and nothing else."""
        self._call.cancel()
        if self._is_open:
            self._is_open = False
            self._link.left()


def _take(task: asyncio.Future[Any]) -> None:
    if not task.cancelled():
        task.exception()
