"""Sending: accepted, sent, received.

Requests that are under way together overtake each other: HTTP/2 keeps no order between streams. So each
conversation has one under way at a time, and conversations do not wait for each other.

What becomes of the messages is seen on the log of events, which one subscription per client follows from the
first send on. When it finds its place in the log it asks once for every message that is waited for: what changed
before that place was found is in the answer, what changes after it comes as an event.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any

from imd_client import _clock, _methods, _wire
from imd_client._binder import Binder
from imd_client._code_table import Code
from imd_client._errors import ImdError, Sent, closed, failure, gone, lacks
from imd_client._event import Deleted, MessageState, MessageStored, Started, Tail
from imd_client._feed import Feed
from imd_client._followed import Followed, Outcome, Register
from imd_client._generated import message_pb2
from imd_client._link import Link
from imd_client._message import MAX_CONTENT, Content, ConversationKey, Direction, Message
from imd_client._signal import Signal
from imd_client._uuid7 import uuid7

NAME = _methods.SEND_MESSAGE.name

MAX_UNDER_WAY = 60
"""The most requests under way: with the other calls, less than the streams a daemon allows."""

MAX_WAITING = 1024
"""The most messages that have not been answered; what comes then is refused with 90004."""

PATIENCE = 30.0
"""How long a message waits for a daemon, in seconds."""


class Sending:
    """A message on its way. Its three ends can be awaited in any order, more than once; to cancel a wait
    cancels nothing."""

    def __init__(self, followed: Followed) -> None:
        self._followed = followed

    @property
    def uid(self) -> str:
        """The message's id."""
        return self._followed.uid

    async def accepted(self) -> Message:
        """When the message is in the outbox, on disk: it will be sent, once, whatever dies.

        Raises 30016 (over 128 KiB), 33000 (the outbox is full, or the disk), 33003 (a wrong argument), 34301 (no
        account is open), 90001, and -2 after 30 seconds without a daemon: unless the error's `sent` is NO, the
        message may have been accepted, and sent again under the same uid it is the same message.
        """
        return await self._when(self._followed.accepted)

    async def sent(self) -> Message:
        """When the server has the message. Without a connection that may be long.

        Raises as `accepted`; the code with which the message FAILED; 34304 when it was deleted.
        """
        return await self._when(self._followed.sent)

    async def received(self) -> Message:
        """When the peer's daemon has the message on disk. A peer who never comes back never has it.

        Raises as `sent`. Only private messages are confirmed: for others 33003, once they are sent.
        """
        return await self._when(self._followed.received)

    async def _when(self, look: Callable[[], Outcome | None]) -> Message:
        outcome: Outcome = await self._followed.signal.wait_for(look)
        if isinstance(outcome, ImdError):
            raise outcome
        return outcome


@dataclass(frozen=True)
class Job:
    """A message that the daemon has not answered."""

    request: message_pb2.SendMessageRequest
    followed: Followed
    since: float


class Courier:
    """Takes the messages of one client to the daemon."""

    def __init__(self, binder: Binder, spawn: Callable[[Coroutine[Any, Any, None]], object]) -> None:
        self._binder = binder
        self._spawn = spawn
        self._register = Register()
        self._queues: dict[ConversationKey, deque[Job]] = {}
        self._waiting = 0
        self._room = asyncio.Semaphore(MAX_UNDER_WAY)
        self._is_watched = False
        # How often the log has begun: an account is open then.
        self._begun = 0
        self._signal = Signal()

    def send(self, conversation: ConversationKey, content: Content) -> Sending:
        """Hands a message over: those of one conversation in the order of the calls."""
        followed = self._register.follow(content.uid or uuid7())
        if len(content.data) > MAX_CONTENT:
            text = f"the content has {len(content.data)} bytes; at most {MAX_CONTENT} are allowed"
            followed.refused(failure(Code.RC_MSG_CONTENT_EXCEED_LIMIT, text, Sent.NO))
        elif self._waiting >= MAX_WAITING:
            text = f"{MAX_WAITING} messages of this client are waiting already"
            followed.refused(failure(Code.IMD_TOO_MANY, text, Sent.NO))
        else:
            self._queue(conversation, content, followed)
        return Sending(followed)

    def deleted(self, message_ids: frozenset[int]) -> None:
        """There is nothing to wait for any longer."""
        self._register.deleted(message_ids)

    def close(self) -> None:
        """Nothing is waited for any longer."""
        for followed in self._register.all():
            if followed.message is None:
                followed.refused(closed(NAME))
            followed.unseen(Code.IPC_DISCONNECT, "the Client was closed")

    def _queue(self, conversation: ConversationKey, content: Content, followed: Followed) -> None:
        request = message_pb2.SendMessageRequest(
            conversation=_wire.to_key(conversation),
            object_name=content.object_name,
            content=content.data,
            uid=followed.uid,
            flags=_wire.COUNTED if content.is_counted else _wire.SAVED,
        )
        if not self._is_watched:
            self._is_watched = True
            self._spawn(self._watch_log())
        self._waiting += 1
        job = Job(request, followed, _clock.now())
        if conversation in self._queues:
            self._queues[conversation].append(job)
        else:
            self._queues[conversation] = deque([job])
            self._spawn(self._hand_over(conversation))

    async def _hand_over(self, conversation: ConversationKey) -> None:
        """Makes the requests of one conversation, in order."""
        queue = self._queues[conversation]
        while queue:
            job = queue.popleft()
            try:
                tell(job.followed, await self._deliver(job))
            except ImdError as error:
                job.followed.refused(error)
            self._waiting -= 1
        del self._queues[conversation]

    async def _deliver(self, job: Job) -> message_pb2.SendMessageResponse:
        """The daemon's answer: of this daemon or of one that is started later."""
        sent, link = Sent.NO, None
        while True:
            link = await self._wait_for_daemon(job, link, sent)
            begun = self._begun
            try:
                async with self._room:
                    return await link.exchange(_methods.SEND_MESSAGE, job.request)
            except ImdError as error:
                if error.code == Code.RC_DB_NOT_INIT and self._is_after_loss():
                    await self._wait_for_account(begun, error)
                    link = None
                elif error.code not in (Code.IPC_DISCONNECT, Code.IMD_STOPPING):
                    raise
                elif error.sent is Sent.UNKNOWN:
                    sent = Sent.UNKNOWN

    async def _wait_for_daemon(self, job: Job, after: Link | None, sent: Sent) -> Link:
        binder = self._binder
        if link := binder.bound_link(after):
            return link
        left = max(job.since, binder.lost_at) + PATIENCE - _clock.now()
        try:
            return await asyncio.wait_for(binder.next_link(after), max(left, 0.0))
        except asyncio.TimeoutError:
            raise gone(NAME, binder.board.current.reason, sent) from None

    def _is_after_loss(self) -> bool:
        return self._binder.losses > 0 and _clock.now() < self._binder.lost_at + PATIENCE

    async def _wait_for_account(self, begun: int, error: ImdError) -> None:
        """A daemon that was started again has not opened the account yet: the log tells when it has."""
        left = self._binder.lost_at + PATIENCE - _clock.now()
        try:
            await asyncio.wait_for(self._signal.wait_for(lambda: True if self._begun > begun else None), max(left, 0.0))
        except asyncio.TimeoutError:
            raise error from None

    async def _watch_log(self) -> None:
        """Follows the log until it cannot; the next send starts it again."""
        feed = Feed(self._binder, Tail(), self._log_begun)
        try:
            while True:
                for event in await feed.next():
                    match event.kind:
                        case Started():
                            await self._ask()
                        case MessageStored(message) | MessageState(message):
                            if message.direction is Direction.SEND:
                                for followed in self._register.with_uid(message.uid):
                                    followed.seen(message)
                        case Deleted(message_id):
                            self._register.deleted(frozenset({message_id}))
                        case _:
                            pass
        except ImdError as error:
            for followed in self._register.all():
                followed.unseen(error.code, error.text)
        finally:
            feed.close()
            self._is_watched = False

    def _log_begun(self) -> None:
        self._begun += 1
        self._signal.notify()

    async def _ask(self) -> None:
        """Asks for every message that is waited for. One the daemon has not been given yet is not found, and
        that says nothing."""
        for followed in self._register.all():
            if followed.is_final:
                continue
            was_accepted = followed.message is not None
            request = message_pb2.GetMessageRequest(uid=followed.uid)
            try:
                link = self._binder.current(_methods.GET_MESSAGE.name)
                answer = await link.exchange(_methods.GET_MESSAGE, request)
            except ImdError as error:
                if error.code == Code.RC_DB_DATA_NOT_FOUND and was_accepted:
                    followed.deleted()
                elif error.code in (Code.IPC_DISCONNECT, Code.IMD_STOPPING):
                    # The log goes on from where it began, without telling so: the message is asked for then.
                    self._spawn(self._ask_again())
                    return
                continue
            message = _wire.message(answer.message)
            if message.direction is Direction.SEND:
                followed.seen(message)

    async def _ask_again(self) -> None:
        begun = self._begun
        await self._signal.wait_for(lambda: True if self._begun > begun else None)
        await self._ask()


def tell(followed: Followed, answer: message_pb2.SendMessageResponse) -> None:
    """What the daemon has answered."""
    if not answer.HasField("message"):
        raise lacks(NAME, "message")
    message = _wire.message(answer.message)
    followed.seen(message)
    # The uid is known, the message is not there any longer.
    if message.id == 0:
        followed.deleted()
