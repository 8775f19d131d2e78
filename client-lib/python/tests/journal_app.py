"""An app that keeps a journal of its own, to be killed at any moment and started again; the daemons too:
`journal_app.py send SOCKET JOURNAL USER COUNT STOP` and `journal_app.py read SOCKET JOURNAL`; and
`journal_app.py live SOCKET JOURNAL DIRECTORY`, one process through all deaths of its daemon.

The sender writes `UID` when the message was accepted. Its uids are its numbers, so that after a kill it sends what it
was not told of under the same uid again. It ends after COUNT, or when there is a file STOP.
The reader writes `EPOCH OFFSET KIND UID TEXT`, one write for an event, and begins where its journal ends.
Each loss of the daemon that the library tells is a line `lost NANOSECONDS HOW` in JOURNAL.told, each daemon it binds to
a line `bound NANOSECONDS RUN`; NANOSECONDS are those of the boot clock.
The one that lives reads, and from the file `go` in DIRECTORY on until there is `stop` it makes one call after the
other, each a line `CALL MICROSECONDS OUTCOME` in JOURNAL.calls: `answer`, or `CODE SENT`; at last `done`. It ends when
it is killed.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from imd_client import (
    Client,
    Content,
    ConversationKey,
    Cursor,
    Deleted,
    Direction,
    Event,
    Gap,
    ImdError,
    Loss,
    MessageState,
    MessageStored,
    OfflineSyncCompleted,
    Start,
    Started,
    Status,
    Tail,
    Unreadable,
)

APP_KEY = "demo"

PAUSE = 0.05
"""Between two tries, in seconds."""

PAUSE_BETWEEN_CALLS = 0.005
"""Of the app that lives, in seconds."""

BATCH = 16
"""How many messages are on their way to the daemon at once."""


class Journal:
    """Lines that outlive the process; if synced, the machine too."""

    def __init__(self, path: Path, *, synced: bool = True) -> None:
        self._path = path
        self._synced = synced
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        # A line that a kill has torn did not happen.
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def lines(self) -> list[str]:
        return self._path.read_text().splitlines()

    def append(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())
        if self._synced:
            os.fdatasync(self._file)


def write_what_is_told(client: Client, journal: Path) -> None:
    """Writes a line for each loss the library tells, and for each daemon it binds to."""
    told = Journal(journal.with_name(f"{journal.name}.told"), synced=False)
    bound: str | None = None

    def listen(status: Status) -> None:
        nonlocal bound
        now = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        if status.loss is Loss.NOT_YET_THERE:
            return
        if status.loss is not None:
            bound = None
            told.append(f"lost {now} {status.loss.value}")
        elif bound != status.daemon_run_id:
            bound = status.daemon_run_id
            told.append(f"bound {now} {bound}")

    client.add_connection_status_listener(listen)


async def until_done(work: Callable[[], Awaitable[None]]) -> None:
    """What a silent daemon has ended is begun again, from the journal on."""
    while True:
        try:
            return await work()
        except ImdError as error:
            print(error, file=sys.stderr)
            await asyncio.sleep(PAUSE)


async def send(socket: str, path: Path, user: str, count: int, stop: Path) -> None:
    async with Client.build(APP_KEY, app_id="org.example.Sender", socket=socket, wait_for_daemon=True) as client:
        journal = Journal(path)
        write_what_is_told(client, path)
        done = len(journal.lines())
        while done < count:
            sendings = [
                client.send_message(
                    ConversationKey.private(user), Content.text(f"message {number}", uid=f"m-{number:08}")
                )
                for number in range(done, min(done + BATCH, count))
            ]
            for sending in sendings:
                journal.append((await sending.accepted()).uid)
                done += 1
            # Only here: what was accepted before a kill is in the journal by then.
            if stop.exists():  # noqa: ASYNC240
                return


async def read(socket: str, path: Path) -> None:
    async with Client.build(APP_KEY, app_id="org.example.Reader", socket=socket, wait_for_daemon=True) as client:
        write_what_is_told(client, path)
        await read_on(client, Journal(path))


async def read_on(client: Client, journal: Journal) -> None:
    async for event in client.subscribe(start(journal)):
        if (line := line_of(event)) is not None:
            journal.append(line)


async def live(socket: str, path: Path, directory: Path) -> None:
    async with Client.build(APP_KEY, app_id="org.example.Live", socket=socket, wait_for_daemon=True) as client:
        write_what_is_told(client, path)
        calls = Journal(path.with_name(f"{path.name}.calls"), synced=False)
        await asyncio.gather(read_on(client, Journal(path, synced=False)), call_on(client, calls, directory))


async def call_on(client: Client, journal: Journal, directory: Path) -> None:
    """Makes one call after the other, and writes down what comes of each."""
    calls: list[tuple[str, Callable[[], Awaitable[object]]]] = [
        ("GetVersion", client.version),
        ("GetUnreadCount", client.unread_count),
        ("ListMessages", lambda: client.list_messages(ConversationKey.private("alice"))),
    ]
    while not (directory / "go").exists():  # noqa: ASYNC110
        await asyncio.sleep(PAUSE_BETWEEN_CALLS)
    for name, call in itertools.cycle(calls):
        if (directory / "stop").exists():
            break
        began = time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        try:
            await call()
            outcome = "answer"
        except ImdError as error:
            outcome = f"{int(error.code)} {error.sent.value}"
        taken = time.clock_gettime_ns(time.CLOCK_BOOTTIME) - began
        journal.append(f"{name} {taken // 1000} {outcome}")
        await asyncio.sleep(PAUSE_BETWEEN_CALLS)
    journal.append("done")


def start(journal: Journal) -> Start:
    """Where the journal ends."""
    lines = journal.lines()
    if not lines:
        return Tail()
    epoch, offset, *_ = lines[-1].split(" ")
    return Cursor(epoch, int(offset))


def line_of(event: Event) -> str | None:
    """An event's line; None for one that is of no interest here."""
    match event.kind:
        case Started(recovered):
            rest = "started" if recovered else "not-recovered"
        case MessageStored(message) if message.direction is Direction.RECEIVE:
            rest = f"message {message.uid} {message.text or ''}"
        case Gap(kind=kind, missing=missing):
            rest = f"gap {kind.name} {missing or 0}"
        case Unreadable(topic, reason):
            rest = f"unreadable {topic} {reason}"
        case MessageStored() | MessageState() | OfflineSyncCompleted() | Deleted():
            return None
        case other:
            rest = f"other {other}"
    return f"{event.cursor.epoch} {event.cursor.offset} {rest}"


def main() -> None:
    match sys.argv[1:]:
        case ["send", socket, journal, user, count, stop]:
            asyncio.run(until_done(lambda: send(socket, Path(journal), user, int(count), Path(stop))))
        case ["read", socket, journal]:
            asyncio.run(until_done(lambda: read(socket, Path(journal))))
        case ["live", socket, journal, directory]:
            asyncio.run(live(socket, Path(journal), Path(directory)))
        case _:
            modes = "send SOCKET JOURNAL USER COUNT STOP | read SOCKET JOURNAL | live SOCKET JOURNAL DIRECTORY"
            sys.exit(f"usage: journal_app.py {modes}")


if __name__ == "__main__":
    main()
