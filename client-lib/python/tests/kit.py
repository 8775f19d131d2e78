"""A real daemon and a real Mosquitto, each in directories of its own."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

from imd_client import Client, ConnectionStatus, Status

T = TypeVar("T")

REPOSITORY = Path(__file__).resolve().parents[3]
TARGET = Path(os.environ.get("CARGO_TARGET_DIR", REPOSITORY / "target"))
PROGRAMS = Path(os.environ.get("IMD_PROGRAMS", TARGET / "debug"))
MOSQUITTO = REPOSITORY / "tests" / "mosquitto"

APP_KEY = "demo"
SECRET = "the tests' own secret"

SOON = 20.0
"""How long anything may take that must come, in seconds."""


async def eventually(what: str, look: Callable[[], T | None]) -> T:
    """Looks until there is something to be seen."""

    async def looked() -> T | None:
        return look()

    return await eventually_answered(what, looked)


async def eventually_answered(what: str, look: Callable[[], Awaitable[T | None]]) -> T:
    """Asks until there is something to be seen."""
    until = time.monotonic() + SOON
    while time.monotonic() < until:
        if (seen := await look()) is not None:
            return seen
        await asyncio.sleep(0.01)
    raise AssertionError(f"waited in vain for {what}")


async def soon(waited: Awaitable[T]) -> T:
    """Waits for something that must come."""
    return await asyncio.wait_for(waited, SOON)


def wait_until(what: str, look: Callable[[], bool]) -> None:
    """As `eventually`, on the calling thread."""
    until = time.monotonic() + SOON
    while not look():
        assert time.monotonic() < until, f"waited in vain for {what}"
        time.sleep(0.01)


def program(name: str) -> str:
    """A program of the system's. Debian puts servers where an ordinary user's PATH does not look."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/sbin:/usr/local/sbin")
    assert found, f"{name} is not installed: run ./tests/run"
    return found


def token(user: str) -> str:
    """A token of this user, good for an hour."""
    arguments = ["token", "--app-key", APP_KEY, "--user", user, "--ttl", "3600", "--secret-file", "-"]
    imctl = subprocess.run([PROGRAMS / "imctl", *arguments], input=SECRET, capture_output=True, text=True, check=True)
    return imctl.stdout.strip()


def made(user: str, ago: int, left: int) -> str:
    """A token of this user that was made so many seconds ago and ends in so many; nobody has signed it."""
    now = int(time.time())
    parts = ({"alg": "HS256"}, {"sub": user, "iat": now - ago, "exp": now + left})
    encoded = [base64.urlsafe_b64encode(json.dumps(part).encode()).decode().rstrip("=") for part in parts]
    return ".".join((*encoded, "c2ln"))


class Mosquitto:
    """The system's own program with the repository's configuration, on a port of its own."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.tokens = {user: token(user) for user in ("alice", "bob", "system")}
        # 80 % of its life are over.
        self.tokens["carol"] = made("carol", 10_000, 600)
        self._process: subprocess.Popen[bytes] | None = None
        passwords = directory / "passwords"
        passwords.write_text("".join(f"{user}:{secret}\n" for user, secret in self.tokens.items()))
        subprocess.run([program("mosquitto_passwd"), "-U", passwords], check=True)
        shutil.copy(MOSQUITTO / "acl", directory)
        # Another may take a port between the look and the start.
        for _ in range(20):
            self.port = free_port()
            configuration = (MOSQUITTO / "mosquitto.conf").read_text()
            configuration = configuration.replace("listener 1883", f"listener {self.port}")
            # As root Mosquitto would turn into another user, who can't read its directory.
            (directory / "mosquitto.conf").write_text(f"{configuration}log_dest stderr\nuser root\n")
            if self.start():
                return
        raise AssertionError(f"Mosquitto does not start:\n{self.log()}")

    @property
    def url(self) -> str:
        return f"mqtt://127.0.0.1:{self.port}"

    def log(self) -> str:
        return (self.directory / "log").read_text(errors="replace")

    def start(self) -> bool:
        before = self.log().count(" running") if (self.directory / "log").exists() else 0
        with (self.directory / "log").open("ab") as log:
            process = subprocess.Popen(
                [program("mosquitto"), "-c", "mosquitto.conf"], cwd=self.directory, stdout=log, stderr=log
            )
        wait_until("Mosquitto to run", lambda: self.log().count(" running") > before or process.poll() is not None)
        if process.poll() is not None:
            return False
        self._process = process
        return True

    def stop(self) -> None:
        if self._process is not None:
            self._process.terminate()
            self._process.wait()
            self._process = None


def free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


class Daemon:
    """A daemon that runs, or did. An ERROR in its log that nobody expects fails the test."""

    def __init__(self, home: Path, configuration: str) -> None:
        self.home = home
        self.socket = home / "run" / "imd.sock"
        for directory in ("run", "home"):
            (home / directory).mkdir(mode=0o700)
        (home / "imd.toml").write_text(configuration)
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        assert self.process is None, "the daemon runs"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.home / "home"),
            "XDG_RUNTIME_DIR": str(self.home / "run"),
            "IMD_LOG": "debug,h2=info,hyper=info,tonic=info,tower=info",
        }
        places: list[str | Path] = [
            "--config",
            self.home / "imd.toml",
            "--data-dir",
            self.home / "data",
            "--socket",
            self.socket,
        ]
        with (self.home / "log").open("ab") as log:
            self.process = subprocess.Popen([PROGRAMS / "imd", *places], env=environment, stdout=log, stderr=log)

    def answers(self) -> bool:
        """Whether somebody listens at the socket."""
        with socket.socket(socket.AF_UNIX) as probe, contextlib.suppress(OSError):
            probe.connect(str(self.socket))
            return True
        assert self.process is None or self.process.poll() is None, f"the daemon ended:\n{self.log()}"
        return False

    def start_and_wait(self) -> None:
        self.start()
        wait_until("the daemon to listen", self.answers)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    async def terminate(self) -> None:
        """SIGTERM, and waits for the orderly end."""
        self.signal(signal.SIGTERM)
        await self.ended()

    async def ended(self) -> None:
        """Waits for the orderly end that was asked for."""
        assert self.process is not None
        process = self.process
        status = await eventually("the daemon's end", process.poll)
        self.process = None
        assert status == 0, self.log()

    def signal(self, number: signal.Signals) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def log(self) -> str:
        return (self.home / "log").read_text(errors="replace")

    def end(self) -> None:
        self.kill()
        lines = self.log().splitlines() if (self.home / "log").exists() else []
        errors = [line for line in lines if "ERROR" in line.split()[:2] or "panicked at" in line]
        assert not errors, "\n".join(errors)


class Stage:
    """A broker, and what is needed around it."""

    def __init__(self, root: Path) -> None:
        self._root = root
        self._daemons: list[Daemon] = []
        self._broker: Mosquitto | None = None

    @property
    def broker(self) -> Mosquitto:
        if self._broker is None:
            directory = self._root / "broker"
            directory.mkdir()
            self._broker = Mosquitto(directory)
        return self._broker

    def daemon(self, url: str | None = None, *, is_started: bool = True) -> Daemon:
        """A daemon for this broker, or for another server."""
        home = self._root / f"d{len(self._daemons)}"
        home.mkdir()
        daemon = Daemon(home, f'[server]\nurls = ["{url or self.broker.url}"]\n')
        self._daemons.append(daemon)
        if is_started:
            daemon.start_and_wait()
        return daemon

    def token(self, user: str) -> str:
        return self.broker.tokens[user]

    def end(self) -> None:
        try:
            for daemon in self._daemons:
                daemon.end()
        finally:
            for daemon in self._daemons:
                daemon.kill()
            if self._broker is not None:
                self._broker.stop()


@contextlib.contextmanager
def a_stage() -> Iterator[Stage]:
    # The name is short: a socket's path must fit in 107 bytes.
    with tempfile.TemporaryDirectory(prefix="imd-") as root:
        stage = Stage(Path(root))
        try:
            yield stage
        finally:
            stage.end()


@contextlib.asynccontextmanager
async def an_app(daemon: Daemon, name: str = "Chat", *, wait_for_daemon: bool = False) -> AsyncIterator[Client]:
    building = Client.build(
        APP_KEY, app_id=f"org.example.{name}", socket=daemon.socket, wait_for_daemon=wait_for_daemon
    )
    async with building as client:
        yield client


async def status_that(client: Client, is_wanted: Callable[[Status], bool], seconds: float = SOON) -> Status:
    """Waits for a status."""

    async def look() -> Status:
        changes = client.status_changes()
        try:
            async for status in changes:
                if is_wanted(status):
                    return status
        finally:
            await changes.aclose()
        raise AssertionError("the client was closed")

    return await asyncio.wait_for(look(), seconds)


async def connected(client: Client) -> Status:
    return await status_that(client, lambda status: status.connection is ConnectionStatus.CONNECTED)


async def lost(client: Client) -> Status:
    return await status_that(client, lambda status: status.is_daemon_lost)


async def bound(client: Client) -> Status:
    return await status_that(client, lambda status: not status.is_daemon_lost)
