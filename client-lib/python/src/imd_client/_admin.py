"""What tools ask: the daemon's version, its apps, its history, its health."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import Enum

from imd_client._code_table import Code
from imd_client._status import ConnectionStatus


@dataclass(frozen=True, kw_only=True)
class Version:
    """What a daemon is."""

    version: str
    """As `imd --version` prints it."""
    protocol_min: int
    protocol_max: int
    capabilities: tuple[str, ...]
    run_id: str
    """Random for each start of the daemon."""
    started: datetime | None
    pid: int
    instance: str


class ConnectPhase(Enum):
    """How far an app's connect is."""

    NONE = "none"
    """It has not asked for the connection, or its connect has ended."""
    PENDING = "pending"
    """It waits for the connection."""
    SUCCEEDED = "succeeded"
    """It was told onSuccess, and nothing has ended the connection since."""


@dataclass(frozen=True, kw_only=True)
class App:
    """A bound app."""

    app_id: str
    instance_id: str
    app_version: str
    pid: int
    bound: datetime | None
    app_key: str
    """Empty before Init."""
    phase: ConnectPhase
    lag: int | None
    """How many events its slowest subscription is behind; `None` without one."""
    subscriptions: int
    """How many subscriptions it has."""


@dataclass(frozen=True, kw_only=True)
class StatusChange:
    """A change of the status."""

    time: datetime | None
    connection: ConnectionStatus
    name: str
    generation: int
    reason: str
    last_code: Code | None
    run_id: str
    """The run of the daemon it was in; empty if an older daemon says it."""


@dataclass(frozen=True, kw_only=True)
class DaemonRun:
    """One run of the daemon."""

    run_id: str
    started: datetime | None
    """`None` if that is no longer known."""
    ended: datetime | None
    """When it ended in order; `None` if it runs, or ended without a word."""
    version: str
    """As `imd --version` prints it."""
    pid: int


@dataclass(frozen=True)
class Timeline:
    """What the status was, over restarts of the daemon."""

    changes: tuple[StatusChange, ...]
    """Oldest first."""
    runs: tuple[DaemonRun, ...]
    """Oldest first; the last is the one that answers."""


class Verdict(Enum):
    """How a check went."""

    OK = "ok"
    WARNING = "warning"
    FAILED = "failed"
    INSECURE = "insecure"
    """The broker let through what it must refuse."""
    SKIPPED = "skipped"


@dataclass(frozen=True)
class Finding:
    """What a check found."""

    check: str
    """What was looked at: `config`, `database`, `server`, `broker.client_id`."""
    verdict: Verdict
    text: str
    mend: str
    """What to do about it; empty when nothing need be done."""
