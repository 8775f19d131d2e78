"""Sending: accepted, sent, received.

Requests that are under way together overtake each other: HTTP/2 keeps no order between streams. So there is one under
way at a time, and what comes meanwhile goes together with the next: the slower the disk, the more messages share a wait
for it.

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
from imd_client._delivery import NAME, Delivery
from imd_client._errors import ImdError, Sent, closed, failure, is_loss, is_passing, lacks
from imd_client._event import Deleted, MessageState, MessageStored, Started, Tail
from imd_client._feed import AGAIN, Feed
from imd_client._followed import Followed, Outcome, Register
from imd_client._generated import message_pb2
from imd_client._message import MAX_CONTENT, Content, ConversationKey, Direction, Message
from imd_client._signal import Signal
from imd_client._uuid7 import uuid7

MAX_TOGETHER = 256
"""The most messages in one request: what a daemon takes at once."""

MAX_BYTES_TOGETHER = 512 * 1024
"""The most bytes in one request, unless one message alone has more: with all that is around them less than a daemon
takes."""

MAX_WAITING = 1024
"""The most messages that have not been answered; what comes then is refused with 90004."""


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
        self._delivery = Delivery(binder)
        self._jobs: deque[Job] = deque()
        self._waiting = 0
        self._is_handing_over = False
        self._is_watched = False
        # Notified when the log has begun.
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
        self._jobs.append(Job(request, followed, _clock.now()))
        if not self._is_handing_over:
            self._is_handing_over = True
            self._spawn(self._hand_over())

    async def _hand_over(self) -> None:
        """Makes the requests, in order."""
        try:
            while self._jobs:
                together = self._take()
                try:
                    outcomes = await self._delivery.deliver([job.request for job in together], together[0].since)
                except ImdError as error:
                    for job in together:
                        job.followed.refused(error)
                else:
                    tell_all(together, outcomes)
                self._waiting -= len(together)
        finally:
            self._is_handing_over = False

    def _take(self) -> list[Job]:
        """What waits and fits."""
        together = [self._jobs.popleft()]
        size = together[0].request.ByteSize()
        while self._jobs and len(together) < MAX_TOGETHER:
            size += self._jobs[0].request.ByteSize()
            if size > MAX_BYTES_TOGETHER:
                break
            together.append(self._jobs.popleft())
        return together

    async def _watch_log(self) -> None:
        """Follows the log until it cannot; the next send starts it again."""
        feed = Feed(self._binder, Tail(), self._log_begun, is_patient=True)
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
        self._delivery.log_begun()
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
                elif is_loss(error):
                    # The log goes on from where it began, without telling so: the message is asked for then.
                    self._spawn(self._ask_again())
                    return
                elif is_passing(error):
                    self._spawn(self._ask_later())
                    return
                continue
            message = _wire.message(answer.message)
            if message.direction is Direction.SEND:
                followed.seen(message)

    async def _ask_again(self) -> None:
        begun = self._begun
        await self._signal.wait_for(lambda: True if self._begun > begun else None)
        await self._ask()

    async def _ask_later(self) -> None:
        """The daemon is there, and was silent or had no room."""
        await asyncio.sleep(AGAIN)
        await self._ask()


def tell_all(together: list[Job], outcomes: list[message_pb2.SendOutcome]) -> None:
    """What the daemon has answered."""
    for at, job in enumerate(together):
        if at < len(outcomes):
            tell(job.followed, outcomes[at])
        else:
            job.followed.refused(lacks(NAME, "outcome"))


def tell(followed: Followed, outcome: message_pb2.SendOutcome) -> None:
    """What became of one message."""
    if not outcome.HasField("message"):
        followed.refused(failure(outcome.code, outcome.code_text, Sent.YES))
        return
    message = _wire.message(outcome.message)
    followed.seen(message)
    # The uid is known, the message is not there any longer.
    if message.id == 0:
        followed.deleted()
