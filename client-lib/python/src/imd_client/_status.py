"""The state of the one connection."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import Enum

from imd_client._code_table import Code
from imd_client._open_enum import OpenEnum


class ConnectionStatus(OpenEnum):
    """Where the connection stands. The numbers are those of RongCloud's Android SDK."""

    DAEMON_LOST = -2
    """The daemon is gone: what the connection does cannot be known. None of Android's numbers."""
    NETWORK_UNAVAILABLE = -1
    """There is no network; the loop waits for one."""
    CONNECTED = 0
    """The connection is up."""
    CONNECTING = 1
    """An attempt is under way."""
    UNCONNECTED = 2
    """No connection is wanted, or it ended for a reason that has no status of its own."""
    KICKED_OFFLINE_BY_OTHER_CLIENT = 3
    """The user logged in on another device of the same class."""
    TOKEN_INCORRECT = 4
    """The token was refused."""
    CONN_USER_BLOCKED = 6
    """The user, or the App Key, is blocked."""
    SIGN_OUT = 12
    """An app called disconnect or logout."""
    SUSPEND = 13
    """Waiting for the next attempt."""
    TIMEOUT = 14
    """No connection within the time limit."""
    PROXY_UNAVAILABLE = 17
    """The proxy cannot be reached."""


class Network(Enum):
    """Whether the machine has a network."""

    AVAILABLE = "available"
    UNAVAILABLE = "unavailable"
    UNKNOWN = "unknown"


class OfflineSync(Enum):
    """How far the messages that waited at the server have been read."""

    NOT_CONNECTED = "not connected"
    RUNNING = "running"
    COMPLETE = "complete"
    INCOMPLETE = "incomplete"
    """The server never said where they end."""


class Loss(Enum):
    """Why the daemon is gone."""

    STOPPED = "stopped"
    """It said goodbye: an orderly stop, or a restart."""
    DIED = "died"
    """Its socket was closed without a word."""
    HUNG = "hung"
    """It was there, and answered nothing."""
    NOT_YET_THERE = "not yet there"
    """There has been none so far (`wait_for_daemon`)."""


@dataclass(frozen=True)
class NextRetry:
    """When the next attempt is due."""

    at: datetime
    """By the wall clock, in UTC."""
    after: timedelta
    """Counted when the daemon said so: right even if the wall clock is not."""


@dataclass(frozen=True, kw_only=True)
class Status:
    """The connection's state and all that is known about it."""

    connection: ConnectionStatus
    """Where the connection stands."""
    name: str
    """Its name as the daemon says it."""
    generation: int
    """Grows with every change of one run of the daemon."""
    daemon_run_id: str
    """Another value than before: another run of the daemon. Empty before the first."""
    reason: str
    """Why it is so, for people to read."""
    attempt: int = 0
    """How many attempts have been made since the connection was last up, or wanted."""
    next_retry: NextRetry | None = None
    """When the next attempt is due; `None` when none is planned."""
    last_code: Code | None = None
    """The last code that ended an attempt or the connection."""
    network: Network = Network.UNKNOWN
    app_key: str = ""
    """The App Key in use; empty before any."""
    user_id: str = ""
    """The user; empty while unknown."""
    server: str = ""
    """The address of the server in use or last tried; empty before any."""
    changed: datetime | None = None
    """When the status took this value."""
    offline_sync: OfflineSync = OfflineSync.NOT_CONNECTED
    storage_full: str = ""
    """Why messages that come in cannot be stored, for people to read: they wait at the server meanwhile. Empty when
    they can."""
    loss: Loss | None = None
    """Why the daemon is gone; `None` while there is one."""

    @property
    def is_connected(self) -> bool:
        """Whether the connection is up."""
        return self.connection is ConnectionStatus.CONNECTED

    @property
    def is_daemon_lost(self) -> bool:
        """Whether the daemon is gone."""
        return self.loss is not None

    def __str__(self) -> str:
        words = f"{self.name} ({int(self.connection)})"
        return f"{words}: {self.reason}" if self.reason else words


def daemon_lost(before: Status | None, loss: Loss, reason: str, last_code: Code = Code.IPC_DISCONNECT) -> Status:
    """What is shown while there is no daemon: nothing of the old status holds any longer."""
    return Status(
        connection=ConnectionStatus.DAEMON_LOST,
        name=ConnectionStatus.DAEMON_LOST.name,
        generation=0 if before is None else before.generation,
        daemon_run_id="" if before is None else before.daemon_run_id,
        reason=reason,
        last_code=last_code,
        loss=loss,
    )
