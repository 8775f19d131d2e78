"""Messages, and the names of conversations."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from imd_client._code_table import Code
from imd_client._open_enum import OpenEnum

TEXT = "RC:TxtMsg"
"""RongCloud's object name of a text."""

MAX_CONTENT = 128 * 1024
"""The longest content, in bytes."""


class ConversationType(OpenEnum):
    """What a conversation is. The numbers are RongCloud's."""

    PRIVATE = 1
    """With one other user."""
    GROUP = 3
    """With a group's members."""
    SYSTEM = 6
    """What the server side has to say; apps cannot write there."""


@dataclass(frozen=True)
class ConversationKey:
    """A conversation's name."""

    type: ConversationType
    target_id: str
    """Private: the other user. Group: the group. System: `system`."""

    @classmethod
    def private(cls, user_id: str) -> ConversationKey:
        """The conversation with this user."""
        return cls(ConversationType.PRIVATE, user_id)

    @classmethod
    def group(cls, group_id: str) -> ConversationKey:
        """The conversation of this group."""
        return cls(ConversationType.GROUP, group_id)

    @classmethod
    def system(cls) -> ConversationKey:
        """What the server side has to say."""
        return cls(ConversationType.SYSTEM, "system")


class Direction(Enum):
    """Who a message is from."""

    SEND = "send"
    """From this account: this machine or another device."""
    RECEIVE = "receive"
    """From others."""


class SentStatus(OpenEnum):
    """How far a message sent from here is. The numbers are RongCloud's."""

    SENDING = 10
    """In the outbox, on disk."""
    FAILED = 20
    """It will not go as it is: `Message.failure` says why. It can be retried or deleted."""
    SENT = 30
    """The server has it."""
    RECEIVED = 40
    """The peer's daemon has it on disk."""


@dataclass(frozen=True)
class Content:
    """What is to be sent."""

    object_name: str
    """1 to 64 bytes of printable ASCII: `RC:ImgMsg`, `app:Poll`."""
    data: bytes
    uid: str | None = None
    """The message's own id, for an app that keeps it: what is sent under the same id is the same message,
    across any crash. 1 to 64 bytes of `A-Z a-z 0-9 - _`. Without it the library makes one."""
    is_counted: bool = True
    """Whether the receiver counts it as unread."""

    @classmethod
    def text(cls, text: str, *, uid: str | None = None, is_counted: bool = True) -> Content:
        """A text: RongCloud's `RC:TxtMsg`."""
        data = json.dumps({"content": text}, ensure_ascii=False).encode("utf-8", "replace")
        return cls(TEXT, data, uid, is_counted)


@dataclass(frozen=True)
class SendFailure:
    """Why a message was not sent."""

    code: Code
    """The code; a server's own number arrives unharmed."""
    text: str
    """What happened, for people to read."""


@dataclass(frozen=True, kw_only=True)
class Message:
    """A stored message."""

    id: int
    """The row on this machine: grows with arrival, and is never used twice."""
    uid: str
    """The sender's id for it."""
    conversation: ConversationKey
    sender_user_id: str
    direction: Direction
    object_name: str
    """What the content is: `RC:TxtMsg`."""
    content: bytes
    """The content; `text` reads that of a text."""
    is_counted: bool
    """Whether it counts as unread where it is received."""
    sent_time: datetime | None
    """The sender's clock."""
    received_time: datetime | None
    """This machine's clock when it was stored."""
    sent_status: SentStatus | None
    """How far it is, if it was sent from here."""
    failure: SendFailure | None
    """Why it failed."""
    no_receiver: bool
    """The server had nobody to give it to when it took it."""
    is_read: bool

    @property
    def text(self) -> str | None:
        """The text of an `RC:TxtMsg`; `None` for what is none."""
        if self.object_name != TEXT:
            return None
        try:
            content = json.loads(self.content)
        except ValueError:
            return None
        text = content.get("content") if isinstance(content, dict) else None
        return text if isinstance(text, str) else None


@dataclass(frozen=True)
class MessagePage:
    """A part of a history or of what a search found."""

    messages: tuple[Message, ...]
    """A history: in the order of arrival, oldest first. A search: newest first."""
    has_more: bool
    """Whether there are more in the direction asked for."""


@dataclass(frozen=True)
class Outbox:
    """What waits to be sent or to be received by the peer, and what has failed."""

    messages: tuple[Message, ...]
    """In the order of sending."""
    has_more: bool
    """Whether there are more behind the last one."""
    waiting_messages: int
    """How many messages wait to be sent, on all pages."""
    waiting_bytes: int


@dataclass(frozen=True)
class Conversation:
    """A conversation as the list shows it."""

    key: ConversationKey
    unread_count: int
    last_message: Message | None
    draft: str
    """What was being written; empty: nothing."""
    is_pinned: bool
    """It stands before the others: RongCloud's "top"."""
    is_muted: bool
    """It should not disturb."""
    updated: datetime | None


@dataclass(frozen=True)
class ConversationPage:
    """A part of the list."""

    conversations: tuple[Conversation, ...]
    """Pinned ones first, then by the last message, newest first."""
    next_page: str | None
    """What to ask for the next page with; `None`: this is the last one."""


@dataclass(frozen=True)
class Group:
    """A group whose messages are wanted: remembered, and subscribed again at every login."""

    group_id: str
    joined: datetime | None
    code: Code | None
    """Why its messages do not come: 22406 NOT_IN_GROUP, if the server refused."""
