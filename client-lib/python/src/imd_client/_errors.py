"""The one error of the library, and how a code is read from a gRPC status: here, and never from text."""

from __future__ import annotations

from enum import Enum
from typing import TYPE_CHECKING

import grpc
from google.protobuf.message import DecodeError

from imd_client._code_table import Code
from imd_client._generated.status_pb2 import ErrorInfo, Status

if TYPE_CHECKING:
    from grpc import aio

DOMAIN = "imd"
DETAILS = "grpc-status-details-bin"


class Sent(Enum):
    """Whether a failed call had reached the daemon."""

    NO = "no"
    """It never left this process: making it again cannot do anything twice."""
    UNKNOWN = "unknown"
    """It was on its way when the daemon went away, or stayed silent: it may have been carried out."""
    YES = "yes"
    """The daemon itself answered with this error."""


class ImdError(Exception):
    """Why a call failed: a code, a text for people, and whether the daemon has seen the call."""

    def __init__(self, code: int, text: str, *, sent: Sent, action: str | None = None) -> None:
        super().__init__(text)
        self.code = Code(code)
        """An open set: a server's own number arrives unharmed."""
        self.text = text
        """What happened, for people to read."""
        self.action = action or self.code.action
        """What the app should do."""
        self.sent = sent
        """Whether the daemon has seen the call: the question after -2."""

    @property
    def name(self) -> str:
        """The code's name; `UNLISTED` for a number that is not in the table."""
        return self.code.name

    def __str__(self) -> str:
        return f"{self.code}: {self.text}"

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self} (sent: {self.sent.value})>"

    def __reduce__(self) -> tuple[object, ...]:
        return failure, (int(self.code), self.text, self.sent, self.action)


class IpcDisconnected(ImdError, ConnectionError):
    """-2 IPC_DISCONNECT: the daemon is gone. The library binds again by itself."""


class DeadlineExceeded(ImdError, TimeoutError):
    """90001 IMD_DEADLINE_EXCEEDED: the daemon is there, but did not answer in time."""


CLASSES: dict[int, type[ImdError]] = {
    Code.IPC_DISCONNECT: IpcDisconnected,
    Code.IMD_DEADLINE_EXCEEDED: DeadlineExceeded,
}


def failure(code: int, text: str, sent: Sent, action: str | None = None) -> ImdError:
    """The error of this code, of the class that goes with it."""
    return CLASSES.get(code, ImdError)(code, text, sent=sent, action=action)


def gone(call: str, reason: str, sent: Sent) -> ImdError:
    """The daemon is gone."""
    fate = "was not sent" if sent is Sent.NO else "may have been carried out"
    return failure(Code.IPC_DISCONNECT, f"{call} {fate}: {reason}", sent)


def silent(call: str, seconds: float, sent: Sent) -> ImdError:
    """The deadline has passed and the daemon is still there."""
    text = f"the daemon is there, but did not answer {call} within {seconds:g} s"
    return failure(Code.IMD_DEADLINE_EXCEEDED, text, sent)


def is_loss(error: ImdError) -> bool:
    """Whether the daemon is gone. One that stops in order is gone like any other."""
    return error.code in (Code.IPC_DISCONNECT, Code.IMD_STOPPING)


def is_passing(error: ImdError) -> bool:
    """What the library waits out where it goes on by itself: a daemon that is lost, that hangs, or that has no room at
    the moment."""
    is_silence = error.code == Code.IMD_DEADLINE_EXCEEDED and error.sent is Sent.UNKNOWN
    return is_loss(error) or is_silence or error.code == Code.IMD_TOO_MANY


def lacks(call: str, what: str) -> ImdError:
    """The daemon's answer is none."""
    return failure(Code.IMD_INTERNAL, f"the daemon's answer to {call} has no {what}", Sent.YES)


def closed(call: str) -> ImdError:
    """The client was closed before the answer came."""
    text = f"the Client was closed before the answer to {call} came"
    return failure(Code.IPC_DISCONNECT, text, Sent.UNKNOWN)


def from_status(call: str, status: aio.AioRpcError) -> ImdError:
    """What a status says; one that the transport made has `sent` unknown."""
    code = carried(status)
    text = status.details() or ""
    if code is not None:
        return failure(code, text, Sent.YES)
    return failure(transport_code(status.code()), f"{call}: {text}", Sent.UNKNOWN)


def carried(status: aio.AioRpcError) -> int | None:
    """The code in a status that the daemon itself made."""
    for key, value in status.trailing_metadata() or ():
        if key == DETAILS and isinstance(value, bytes):
            return code_in(value)
    return None


def code_in(details: bytes) -> int | None:
    """The code in the bytes of a google.rpc.Status."""
    try:
        for detail in Status.FromString(details).details:
            if detail.type_url.endswith("/google.rpc.ErrorInfo"):
                info = ErrorInfo.FromString(detail.value)
                if info.domain == DOMAIN:
                    return int(info.metadata.get("code", ""))
    except (DecodeError, ValueError):
        return None
    return None


def transport_code(status: grpc.StatusCode) -> Code:
    """The code for a status that the transport made on the way."""
    codes = {
        grpc.StatusCode.OUT_OF_RANGE: Code.IMD_REQUEST_TOO_LARGE,
        grpc.StatusCode.RESOURCE_EXHAUSTED: Code.IMD_TOO_MANY,
        grpc.StatusCode.UNIMPLEMENTED: Code.IMD_VERSION_SKEW,
        grpc.StatusCode.DEADLINE_EXCEEDED: Code.IMD_DEADLINE_EXCEEDED,
        grpc.StatusCode.UNAVAILABLE: Code.IPC_DISCONNECT,
    }
    return codes.get(status, Code.IMD_INTERNAL)
