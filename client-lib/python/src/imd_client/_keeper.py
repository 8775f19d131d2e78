"""What becomes of an app's connect when the daemon dies: pure, no waiting and no calls."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import Enum
from typing import TypeAlias

from imd_client._status import ConnectionStatus, Status

ACTIVE = frozenset(
    {
        ConnectionStatus.CONNECTED,
        ConnectionStatus.CONNECTING,
        ConnectionStatus.SUSPEND,
        ConnectionStatus.NETWORK_UNAVAILABLE,
    }
)
"""The daemon is connected, or works at it."""

ENDS = frozenset(
    {
        ConnectionStatus.UNCONNECTED,
        ConnectionStatus.KICKED_OFFLINE_BY_OTHER_CLIENT,
        ConnectionStatus.TOKEN_INCORRECT,
        ConnectionStatus.CONN_USER_BLOCKED,
        ConnectionStatus.SIGN_OUT,
        ConnectionStatus.TIMEOUT,
        ConnectionStatus.PROXY_UNAVAILABLE,
    }
)
"""The connection has ended, for every app."""


@dataclass(frozen=True)
class Request:
    """A connect: the same connect_id is the same connect for ever."""

    connect_id: str
    token: str
    user_id: str | None

    def __repr__(self) -> str:
        return f"<connect {self.connect_id}>"


@dataclass(frozen=True)
class Idle:
    """No connect waits or holds."""


@dataclass(frozen=True)
class Pending:
    """A connect that has not been answered yet."""

    request: Request


@dataclass(frozen=True)
class Kept:
    """A connect that succeeded, and no end of it has been seen."""

    request: Request
    app_key: str
    user_id: str
    generation: int
    """What the status was when it succeeded: an older one says nothing."""
    run_id: str
    """The run of the daemon that knows of it."""


State: TypeAlias = Idle | Pending | Kept


class Revival(Enum):
    """What a kept connect comes to at a daemon that was started again."""

    NEEDLESS = "needless"
    REISSUE = "reissue"
    ENDED = "ended"


def revival(kept: Kept, status: Status) -> Revival:
    """Whether the connect is to be made again, so that the daemon knows the app as connected."""
    if status.daemon_run_id == kept.run_id:
        return Revival.NEEDLESS
    is_ours = (status.app_key, status.user_id) == (kept.app_key, kept.user_id)
    if status.connection in ACTIVE and is_ours:
        return Revival.REISSUE
    # A daemon that remembers nothing (`remember = false`).
    is_blank = status.last_code is None and not status.app_key
    if status.connection is ConnectionStatus.UNCONNECTED and is_blank:
        return Revival.REISSUE
    return Revival.ENDED


class Keeper:
    """An app has one connect at a time."""

    def __init__(self) -> None:
        self.state: State = Idle()

    def must_refuse(self, run_id: str | None) -> bool:
        """Whether another connect is refused here, for the daemon does not know of the first: it is not
        there, or is another than the one that answered it."""
        match self.state:
            case Idle():
                return False
            case Pending():
                return run_id is None
            case Kept() as kept:
                return kept.run_id != run_id

    def begins(self, request: Request) -> None:
        """A connect was asked for. The daemon refuses it where there is one already, and that one stays."""
        if isinstance(self.state, Idle):
            self.state = Pending(request)

    def succeeded(self, request: Request, status: Status) -> None:
        """onSuccess."""
        self.state = Kept(request, status.app_key, status.user_id, status.generation, status.daemon_run_id)

    def failed(self, request: Request) -> None:
        """onError."""
        if self._holds(request):
            self.state = Idle()

    def renewed(self, token: str) -> None:
        """The connect that is kept goes on with another token, should it be made again."""
        if isinstance(self.state, Kept):
            self.state = replace(self.state, request=replace(self.state.request, token=token))

    def signed_out(self) -> None:
        """The app itself has called disconnect or logout."""
        if isinstance(self.state, Kept):
            self.state = Idle()

    def sees(self, status: Status) -> None:
        """A status of the daemon that knows of the connect."""
        kept = self.state
        if not isinstance(kept, Kept) or status.daemon_run_id != kept.run_id:
            return
        is_other = bool(status.user_id) and (status.app_key, status.user_id) != (kept.app_key, kept.user_id)
        if status.generation > kept.generation and (status.connection in ENDS or is_other):
            self.state = Idle()

    def bound(self, status: Status) -> Request | None:
        """A binding begins: the connect that is to be made again."""
        if not isinstance(self.state, Kept):
            return None
        match revival(self.state, status):
            case Revival.NEEDLESS:
                self.sees(status)
                return None
            case Revival.REISSUE:
                return self.state.request
            case Revival.ENDED:
                self.state = Idle()
                return None

    def _holds(self, request: Request) -> bool:
        return not isinstance(self.state, Idle) and self.state.request == request
