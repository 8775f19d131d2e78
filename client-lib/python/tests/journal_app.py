"""An app that keeps a journal of its own, to be killed at any moment and started again; the daemons too:
`journal_app.py send SOCKET JOURNAL USER COUNT STOP` and `journal_app.py read SOCKET JOURNAL`.

The sender writes `UID` when the message was accepted. Its uids are its numbers, so that after a kill it sends what it
was not told of under the same uid again. It ends after COUNT, or when there is a file STOP.
The reader writes `EPOCH OFFSET KIND UID TEXT`, one write for an event, and begins where its journal ends.
Each loss of the daemon that the library tells is a line in JOURNAL.losses.
"""

from __future__ import annotations

import asyncio
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

BATCH = 16
"""How many messages are on their way to the daemon at once."""


class Journal:
    """Lines that outlive the process and the machine."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file = os.open(path, os.O_CREAT | os.O_APPEND | os.O_WRONLY, 0o600)
        # A line that a kill has torn did not happen.
        os.truncate(path, path.read_bytes().rfind(b"\n") + 1)

    def lines(self) -> list[str]:
        return self._path.read_text().splitlines()

    def append(self, line: str) -> None:
        os.write(self._file, f"{line}\n".encode())
        os.fdatasync(self._file)


def count_losses(client: Client, path: Path) -> None:
    """Writes a line for each loss the library tells."""
    losses = Journal(path)

    def listen(status: Status) -> None:
        if status.is_daemon_lost and status.loss is not Loss.NOT_YET_THERE:
            losses.append(f"{time.time():.3f} {status.reason}")

    client.add_connection_status_listener(listen)


async def until_done(work: Callable[[], Awaitable[None]]) -> None:
    """What a silent daemon has ended is begun again, from the journal on."""
    while True:
        try:
            return await work()
        except ImdError as error:
            print(error, file=sys.stderr)
            await asyncio.sleep(PAUSE)


async def send(socket: str, journal: Journal, losses: Path, user: str, count: int, stop: Path) -> None:
    async with Client.build(APP_KEY, app_id="org.example.Sender", socket=socket, wait_for_daemon=True) as client:
        count_losses(client, losses)
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


async def read(socket: str, journal: Journal, losses: Path) -> None:
    async with Client.build(APP_KEY, app_id="org.example.Reader", socket=socket, wait_for_daemon=True) as client:
        count_losses(client, losses)
        async for event in client.subscribe(start(journal)):
            if (line := line_of(event)) is not None:
                journal.append(line)


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
            paths = Journal(Path(journal)), Path(f"{journal}.losses")
            asyncio.run(until_done(lambda: send(socket, *paths, user, int(count), Path(stop))))
        case ["read", socket, journal]:
            paths = Journal(Path(journal)), Path(f"{journal}.losses")
            asyncio.run(until_done(lambda: read(socket, *paths)))
        case _:
            sys.exit("usage: journal_app.py send SOCKET JOURNAL USER COUNT STOP | journal_app.py read SOCKET JOURNAL")


if __name__ == "__main__":
    main()
