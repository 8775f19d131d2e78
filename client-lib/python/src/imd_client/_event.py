"""What the log of events holds."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias

from imd_client._message import ConversationKey, Message
from imd_client._open_enum import OpenEnum


@dataclass(frozen=True)
class Cursor:
    """An event's place in the log. As a start: after this event.

    An app that keeps the cursor together with what an event made it do sees each event exactly once.
    """

    epoch: str
    """Random for each database file: offsets of another epoch say nothing."""
    offset: int
    """Grows with every event."""


@dataclass(frozen=True)
class Named:
    """Start where `ack_events` of this app and name left it; at the tail the first time. At least once."""

    name: str


@dataclass(frozen=True)
class Tail:
    """Start with what comes from here on."""


Start: TypeAlias = Cursor | Named | Tail


@dataclass(frozen=True)
class Started:
    """The subscription begins here: the first item, and again where the events that follow do not join those
    before (another account was opened, or the log was cut)."""

    recovered: bool
    """False: the log does not reach back to the cursor asked for. Read the history."""


@dataclass(frozen=True)
class MessageStored:
    """A message has been stored: received, or accepted from an app."""

    message: Message


@dataclass(frozen=True)
class MessageState:
    """The state of a message sent from here has changed."""

    message: Message


class GapKind(OpenEnum):
    """Why something may be missing."""

    GROUP_SEQUENCE = 1
    """A hole in a group sender's numbers."""
    OTHER_INSTALLATION = 2
    """Another installation was connected last: messages may have gone there."""
    SESSION_LOST = 3
    """The server had lost the session."""
    DATABASE_DAMAGED = 4
    """The database was damaged, and a new one was begun."""


@dataclass(frozen=True)
class Gap:
    """Something may be missing."""

    kind: GapKind
    conversation: ConversationKey | None
    """Where, if that is known."""
    sender_user_id: str
    """Whose messages; empty where that is not known."""
    missing: int | None
    """How many, where that is known."""
    text: str
    """For people to read."""


@dataclass(frozen=True)
class OfflineSyncCompleted:
    """What had waited at the server has been read: once per connect."""

    complete: bool
    """False: the server never said where the messages that waited end."""


@dataclass(frozen=True)
class Unreadable:
    """A payload that cannot be read was kept aside."""

    topic: str
    reason: str
    bytes: int


@dataclass(frozen=True)
class Deleted:
    """A message that this event was about has been deleted since."""

    message_id: int
    """The row it had."""


@dataclass(frozen=True)
class Unlisted:
    """An event of a later daemon."""


EventKind: TypeAlias = (
    Started | MessageStored | MessageState | Gap | OfflineSyncCompleted | Unreadable | Deleted | Unlisted
)


@dataclass(frozen=True)
class Event:
    """An event."""

    cursor: Cursor
    """Its place; to begin there again is to begin with the next one."""
    time: datetime | None
    """When it was logged."""
    kind: EventKind
    """What happened."""
