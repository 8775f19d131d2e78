"""The messages that are waited for, and what is known of them."""

from __future__ import annotations

import weakref
from typing import TypeAlias

from imd_client._code_table import Code
from imd_client._errors import ImdError, Sent, failure
from imd_client._message import ConversationType, Message, SentStatus
from imd_client._signal import Signal

Outcome: TypeAlias = Message | ImdError


class Followed:
    """A message that is waited for. It is forgotten with the last one who waits."""

    def __init__(self, uid: str) -> None:
        self.uid = uid
        self.signal = Signal()
        # As it was last seen.
        self.message: Message | None = None
        # Why it was not accepted.
        self._refused: ImdError | None = None
        # Why nothing further can be seen of it.
        self._unseen: ImdError | None = None

    def accepted(self) -> Outcome | None:
        """What `Sending.accepted` answers; None for not yet."""
        return self.message or self._refused

    def sent(self) -> Outcome | None:
        """What `Sending.sent` answers."""
        return self._reached(SentStatus.SENT)

    def received(self) -> Outcome | None:
        """What `Sending.received` answers."""
        if reached := self._reached(SentStatus.RECEIVED):
            return reached
        sent = self.sent()
        if isinstance(sent, Message) and sent.conversation.type is not ConversationType.PRIVATE:
            text = "only private messages are confirmed by their receivers; this one is sent"
            return failure(Code.BIZ_ERROR_INVALID_PARAMETER, text, Sent.YES)
        return None

    def _reached(self, status: SentStatus) -> Outcome | None:
        message = self.message
        # FAILED is less than SENT.
        if message is not None and rank(message) >= status:
            return message
        if message is not None and message.sent_status is SentStatus.FAILED:
            return failed(message)
        return self._refused or self._unseen

    @property
    def is_final(self) -> bool:
        """Whether nothing changes any more."""
        if self._refused is not None:
            return True
        return self.message is not None and self.message.sent_status in (
            SentStatus.FAILED,
            SentStatus.RECEIVED,
        )

    def seen(self, message: Message) -> None:
        """A later state never gives way to an earlier one, in whatever order answers and events come."""
        if not self.is_final and (self.message is None or rank(self.message) < rank(message)):
            self.message = message
            self.signal.notify()

    def refused(self, error: ImdError) -> None:
        """It was not accepted."""
        if not self.is_final:
            self._refused = error
            self.signal.notify()

    def unseen(self, code: int, reason: str) -> None:
        """What becomes of it cannot be seen. The answer to the request may still come."""
        if not self.is_final and self._unseen is None:
            sent = Sent.UNKNOWN if self.message is None else Sent.YES
            text = f"what becomes of the message {self.uid} cannot be seen: {reason}"
            self._unseen = failure(code, text, sent)
            self.signal.notify()

    def deleted(self) -> None:
        """It is not there any longer."""
        reason = "it is not on this machine any longer: it was deleted, or another account is open"
        self.unseen(Code.RC_DB_DATA_NOT_FOUND, reason)


class Register:
    """The messages that are waited for, by uid: an app may send one again while it waits for the first."""

    def __init__(self) -> None:
        self._all: weakref.WeakSet[Followed] = weakref.WeakSet()
        self._by_uid: dict[str, weakref.WeakSet[Followed]] = {}

    def follow(self, uid: str) -> Followed:
        """A message is waited for."""
        followed = Followed(uid)
        self._all.add(followed)
        self._by_uid.setdefault(uid, weakref.WeakSet()).add(followed)
        weakref.finalize(followed, self._forget, uid).atexit = False
        return followed

    def all(self) -> list[Followed]:
        """All of them."""
        return list(self._all)

    def with_uid(self, uid: str) -> list[Followed]:
        """Those of this uid."""
        return list(self._by_uid.get(uid, ()))

    def deleted(self, message_ids: frozenset[int]) -> None:
        """These are not there any longer."""
        for followed in self.all():
            if followed.message is not None and followed.message.id in message_ids:
                followed.deleted()

    def _forget(self, uid: str) -> None:
        if not self._by_uid.get(uid):
            self._by_uid.pop(uid, None)


def rank(message: Message) -> int:
    """How far a message is."""
    return message.sent_status or 0


def failed(message: Message) -> ImdError:
    """Why a message failed."""
    if message.failure is None:
        return failure(Code.UNKNOWN, "the daemon does not say why it failed", Sent.YES)
    return failure(message.failure.code, message.failure.text, Sent.YES)
