"""What every broker's fixture has: a directory and a port of its own, users with tokens, an end.

A fixture says how its broker is configured and started; the rest is here.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import hmac
import json
import os
import signal
import socket
import subprocess
import time
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

from kit import APP_KEY, REPOSITORY, SECRET, free_port, program

CONFIGURATIONS = REPOSITORY / "tests" / "interop.d"

MEMBERS = ("alice", "bob")
"""Who is in the group."""
GROUP = "team"
STRANGER = "carol"
"""Has an account, and is in no group."""
DOTTED = "ann.lee"
"""Some brokers turn a topic's levels into words between dots."""
SYSTEM = "system"
"""The server side."""
USERS = (*MEMBERS, STRANGER, DOTTED, SYSTEM)

STARTED_WITHIN = 120.0
"""An Erlang VM on a loaded machine takes its time, in seconds."""

HOUR = 3600


class Broker(ABC):
    """A broker on a port of its own."""

    name: ClassVar[str]
    """As the command line and the table say it."""
    nodes: ClassVar[int] = 1
    """How many processes share its users."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.port = free_port()
        self.tokens = {user: self.token(user) for user in USERS}
        self._processes: list[subprocess.Popen[bytes]] = []
        self.configure()

    def urls(self, turn: int) -> list[str]:
        """The addresses, as the configuration of the daemon with this number wants them."""
        del turn
        return [f"mqtt://127.0.0.1:{self.port}"]

    @abstractmethod
    def version(self) -> str:
        """The broker's own name for its version."""

    @abstractmethod
    def configure(self) -> None:
        """Writes what the broker reads at its start, with every user and the group's members."""

    @abstractmethod
    def commands(self) -> list[list[str]]:
        """What is run, in this order: the broker, and before it what it needs."""

    def environment(self) -> Mapping[str, str]:
        """What the commands find in their environment beside PATH."""
        return {}

    def token(self, user: str) -> str:
        """A JWT of this user, good for an hour: to most of these brokers a password like any other."""
        return jwt({"sub": user, "app": APP_KEY, "exp": int(time.time()) + HOUR})

    def token_for(self, user: str, client_id: str) -> str:
        """What this user shows who logs in with this client id."""
        del client_id
        return self.tokens[user]

    def kill_node(self, turn: int) -> None:
        """SIGKILL for one node, another at each turn."""
        raise NotImplementedError(f"{self.name} has one node")

    def start_node(self, turn: int) -> None:
        """Starts the node that was killed at this turn, and waits until it takes connections."""
        raise NotImplementedError(f"{self.name} has one node")

    def start(self) -> None:
        """Starts it, and waits until it takes connections."""
        environment = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", "HOME": str(self.directory)}
        environment |= self.environment()
        for command in self.commands():
            with (self.directory / "log").open("ab") as log:
                process = subprocess.Popen(
                    command, cwd=self.directory, env=environment, stdout=log, stderr=log, start_new_session=True
                )
            self._processes.append(process)
        until = time.monotonic() + STARTED_WITHIN
        while not self.is_ready():
            ended = [process for process in self._processes if process.poll() is not None]
            assert not ended, f"{self.name} does not start:\n{self.log()[-4000:]}"
            assert time.monotonic() < until, f"{self.name} does not come up:\n{self.log()[-4000:]}"
            time.sleep(0.05)

    def is_ready(self) -> bool:
        """Whether it takes connections."""
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
            return True
        return False

    def stop(self) -> None:
        """SIGTERM: the orderly end."""
        self._end(signal.SIGTERM)

    def kill9(self) -> None:
        """SIGKILL, for every process of it."""
        self._end(signal.SIGKILL)

    def log(self) -> str:
        """What it has said, in all its runs."""
        path = self.directory / "log"
        return path.read_text(errors="replace") if path.exists() else ""

    def fill(self, source: Path, further: Mapping[str, str] | None = None) -> str:
        """A configuration file of the repository, with what this run has of its own put in."""
        text = source.read_text()
        for user, token in self.tokens.items():
            text = text.replace(f"TOKEN-OF-{user.upper()}", token)
        for written, own in (further or {}).items():
            assert written in text, f"{source} has no {written!r}"
            text = text.replace(written, own)
        return text

    def _end(self, number: signal.Signals) -> None:
        for process in reversed(self._processes):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()
        self._processes.clear()


def jwt(claims: Mapping[str, object]) -> str:
    """Signed with the tests' secret."""

    def part(value: bytes) -> str:
        return base64.urlsafe_b64encode(value).rstrip(b"=").decode()

    head = part(b'{"alg":"HS256","typ":"JWT"}')
    signed = f"{head}.{part(json.dumps(claims).encode())}"
    signature = hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256)
    return f"{signed}.{part(signature)}"


def debian_version(package: str) -> str:
    """The version of an installed package."""
    ask = ["dpkg-query", "--showformat=${Version}", "--show", package]
    return subprocess.run([program("dpkg-query"), *ask[1:]], capture_output=True, text=True, check=True).stdout
