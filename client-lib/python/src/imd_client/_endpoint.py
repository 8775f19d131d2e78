"""Where the daemon's socket is, and whose it is."""

from __future__ import annotations

import asyncio
import os
import re
import socket
import stat
import struct
from pathlib import Path

from imd_client._code_table import Code
from imd_client._errors import ImdError, Sent, failure, gone

INSTANCE = re.compile(r"[A-Za-z0-9_-]{1,64}")

MAX_SOCKET_PATH = 107
"""The longest path a Unix socket's name can hold on Linux."""

NOBODY = 0xFFFF_FFFF
"""What the kernel says of the peer of a socket that is not connected."""


def socket_path(socket: str | os.PathLike[str] | None, instance: str | None) -> Path:
    """The socket that will be dialled: the one named here, else that of the instance named here, else
    `IMD_SOCKET`, else that of `IMD_INSTANCE`, else `$XDG_RUNTIME_DIR/imd/imd.sock`."""
    if socket is not None:
        return checked(Path(socket))
    if instance is not None:
        return of_instance(instance)
    if named := os.environ.get("IMD_SOCKET"):
        return checked(Path(named))
    return of_instance(os.environ.get("IMD_INSTANCE") or "imd")


def of_instance(instance: str) -> Path:
    """`$XDG_RUNTIME_DIR/imd/INSTANCE.sock`."""
    if INSTANCE.fullmatch(instance) is None:
        raise unusable(f"the instance name {instance!r} is not 1 to 64 characters of A-Z a-z 0-9 _ -")
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    if not runtime.startswith("/"):
        raise unusable(
            "XDG_RUNTIME_DIR is not set, so there is no private place for the socket. Log in through "
            "systemd-logind, or name a socket with socket=... or IMD_SOCKET"
        )
    return checked(Path(runtime, "imd", f"{instance}.sock"))


def checked(path: Path) -> Path:
    """The path, if a socket can have it."""
    length = len(os.fsencode(path))
    if length > MAX_SOCKET_PATH or b"\0" in os.fsencode(path):
        raise unusable(
            f"the socket path {path} has {length} bytes; a socket's name holds {MAX_SOCKET_PATH}. Choose a shorter one"
        )
    return path


def unusable(text: str) -> ImdError:
    """There is no socket of this name."""
    return failure(Code.IMD_INVALID_SOCKET_PATH, text, Sent.NO)


class Pin:
    """One socket, held on to.

    gRPC's channels dial again by themselves, and then calls would reach a daemon that has never seen this
    app. Dialled by this name they find the socket that was checked, or nobody: a daemon that is started again
    makes another.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC)
        except OSError as error:
            raise unreachable(path, error) from None
        self.path = path

    @property
    def name(self) -> str:
        """A path that leads to this socket whatever becomes of its own."""
        return f"/proc/self/fd/{self._descriptor}"

    def close(self) -> None:
        """Lets it go."""
        os.close(self._descriptor)

    async def check(self) -> None:
        """Whether somebody listens, and whether that is a process of our own user: an impostor would be
        handed the token. gRPC does not show the peer of its own socket, so the same socket is dialled once
        before it."""
        owner = os.fstat(self._descriptor)
        if not stat.S_ISSOCK(owner.st_mode):
            raise gone("Bind", f"{self.path} is no socket", Sent.NO)
        check_peer(self.path, owner.st_uid)
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
            try:
                await asyncio.get_running_loop().sock_connect(probe, self.name)
            except OSError as error:
                raise unreachable(self.path, error) from None
            credentials = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("iII"))
        _, uid, _ = struct.unpack("iII", credentials)
        if uid == NOBODY:
            raise gone("Bind", f"the queue of callers at {self.path} is full", Sent.NO)
        check_peer(self.path, uid)


def check_peer(path: Path, uid: int) -> None:
    """A socket of another user is refused."""
    if uid != os.geteuid():
        text = f"the socket {path} belongs to a process of user id {uid}, not of {os.geteuid()}"
        raise failure(Code.IMD_REFUSED_PEER, text, Sent.NO)


def unreachable(path: Path, error: OSError) -> ImdError:
    """Why there is nobody."""
    match error:
        case FileNotFoundError():
            why = "there is no such socket"
        case ConnectionRefusedError():
            why = "the socket is there, but nobody listens"
        case _:
            why = error.strerror or str(error)
    return failure(Code.IPC_DISCONNECT, f"no daemon at {path}: {why}", Sent.NO)
