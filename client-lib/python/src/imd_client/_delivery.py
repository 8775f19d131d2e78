"""The way of messages to a daemon: over as many as it takes, for as long as they may wait."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from imd_client import _clock, _methods
from imd_client._binder import Binder
from imd_client._code_table import Code
from imd_client._errors import ImdError, Sent, gone, is_loss
from imd_client._generated import message_pb2
from imd_client._link import Link
from imd_client._signal import Signal

NAME = _methods.SEND_MESSAGES.name

PATIENCE = 30.0
"""How long messages wait for a daemon, in seconds: counted from the loss, or from their own call if that was later. And
how long a daemon that was bound after an outage may take to open the account."""

LOOK_AGAIN = 1.0
"""Seconds before a daemon that has no account open is asked again, where the log does not tell that it has."""


class Delivery:
    """Asks one daemon after the other to take the messages. Each bears a uid: it is one message, however often it is
    sent."""

    def __init__(self, binder: Binder) -> None:
        self._binder = binder
        # How often the log has begun: an account is open then.
        self._begun = 0
        self._signal = Signal()

    def log_begun(self) -> None:
        """The log has begun at a daemon."""
        self._begun += 1
        self._signal.notify()

    async def deliver(
        self, requests: Sequence[message_pb2.SendMessageRequest], since: float
    ) -> list[message_pb2.SendOutcome]:
        """The outcome of each, in their order: of this daemon or of one that is started later. `since` is when the
        first of them was called for."""
        sent, link = Sent.NO, None
        # Set once: messages that themselves kill every daemon end, too.
        until: float | None = None
        while True:
            following = self._binder.bound_link(link)
            if following is None:
                until = max(since, self._binder.lost_at) + PATIENCE if until is None else until
                following = await self._wait_for_daemon(link, until, sent)
            link = following
            begun = self._begun
            try:
                return await hand_over(link, requests)
            except ImdError as error:
                if is_loss(error):
                    if error.sent is Sent.UNKNOWN:
                        sent = Sent.UNKNOWN
                elif error.code == Code.RC_DB_NOT_INIT and (left := self._opening()) > 0:
                    await self._wait_for_account(begun, min(left, LOOK_AGAIN))
                    link = None
                else:
                    raise

    async def _wait_for_daemon(self, after: Link | None, until: float, sent: Sent) -> Link:
        try:
            return await asyncio.wait_for(self._binder.next_link(after), max(until - _clock.now(), 0.0))
        except asyncio.TimeoutError:
            raise gone(NAME, self._binder.board.current.reason, sent) from None

    def _opening(self) -> float:
        """How long the account may still be about to be opened: by the daemon itself, as it remembers, or by the
        connect that this library makes again, of which the app knows nothing."""
        bound = self._binder.after_outage
        return 0.0 if bound is None else bound + PATIENCE - _clock.now()

    async def _wait_for_account(self, begun: int, seconds: float) -> None:
        """The log tells when an account is open."""
        waited = self._signal.wait_for(lambda: True if self._begun > begun else None)
        await asyncio.wait({task := asyncio.ensure_future(waited)}, timeout=seconds)
        task.cancel()


async def hand_over(link: Link, requests: Sequence[message_pb2.SendMessageRequest]) -> list[message_pb2.SendOutcome]:
    """Asks one daemon."""
    try:
        answer = await link.exchange(_methods.SEND_MESSAGES, message_pb2.SendMessagesRequest(messages=requests))
    except ImdError as error:
        if error.code != Code.IMD_VERSION_SKEW:
            raise
        # An older daemon takes one at a time.
        return [await hand_over_one(link, request) for request in requests]
    return list(answer.outcomes)


async def hand_over_one(link: Link, request: message_pb2.SendMessageRequest) -> message_pb2.SendOutcome:
    """Asks one daemon about one message. Raises what the others would meet too."""
    try:
        answer = await link.exchange(_methods.SEND_MESSAGE, request)
    except ImdError as error:
        if error.sent is not Sent.YES or is_loss(error) or error.code == Code.RC_DB_NOT_INIT:
            raise
        return message_pb2.SendOutcome(code=int(error.code), code_name=error.name, code_text=error.text)
    message = answer.message if answer.HasField("message") else None
    return message_pb2.SendOutcome(message=message, already_known=answer.already_known)
