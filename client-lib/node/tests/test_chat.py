"""The Node example against a real daemon, which is killed in the middle. Where the example's packages are: IMD_NODE."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

from imd_client import ConversationKey, MessageStored, Tail
from kit import REPOSITORY, Daemon, Stage, an_app, eventually, soon

ALICE = ConversationKey.private("alice")
NODE = Path(os.environ["IMD_NODE"])


class Program:
    """A program that runs, and what it has said."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said: list[str] = []
        self._reading = asyncio.ensure_future(self._read())

    @classmethod
    async def start(cls, daemon: Daemon, program: str, *arguments: str) -> Program:
        pipe = asyncio.subprocess.PIPE
        environment = {
            "PATH": os.environ["PATH"],
            "IMD_SOCKET": str(daemon.socket),
            "IMD_PROTO": str(REPOSITORY / "proto" / "proto"),
        }
        process = await asyncio.create_subprocess_exec(
            "node", str(NODE / program), *arguments, env=environment, stdin=pipe, stdout=pipe
        )
        return cls(process)

    async def _read(self) -> None:
        assert self.process.stdout is not None
        async for line in self.process.stdout:
            self.said.append(line.decode().rstrip("\n"))

    def write(self, line: str) -> None:
        assert self.process.stdin is not None
        self.process.stdin.write(f"{line}\n".encode())

    async def says(self, line: str) -> None:
        await eventually(f"{line!r} of {self.said}", lambda: True if line in self.said else None)

    async def end(self) -> None:
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


async def test_the_chat_goes_on_over_a_kill_of_the_daemon(stage: Stage, tmp_path: Path) -> None:
    daemon = stage.daemon()
    async with an_app(stage.daemon()) as bob:
        await soon(bob.connect(stage.token("bob")))
        chat = await Program.start(daemon, "chat.mjs", "bob", str(tmp_path / "cursor"))
        try:
            async with bob.subscribe(Tail()) as events:
                chat.write(stage.token("alice"))
                await chat.says("onSuccess alice")
                await soon(bob.send_text("alice", "hello").received())
                await chat.says("bob: hello")
                chat.write("hello bob")

                daemon.kill()
                await eventually("the loss", lambda: True if "DAEMON_LOST" in chat.said[-1] else None)
                chat.write("while you were dead")
                for number in range(3):
                    await soon(bob.send_text("alice", f"waiting {number}").sent())
                daemon.start()
                await chat.says("bob: waiting 2")
                chat.write("the last")

                texts: list[str | None] = []
                while texts[-1:] != ["the last"]:
                    event = await soon(anext(events))
                    if isinstance(event.kind, MessageStored) and event.kind.message.conversation == ALICE:
                        message = event.kind.message
                        texts += [message.text] if message.sender_user_id == "alice" else []
                assert texts == ["hello bob", "while you were dead", "the last"]
            assert [line for line in chat.said if line.startswith("bob: ")] == [
                "bob: hello",
                "bob: waiting 0",
                "bob: waiting 1",
                "bob: waiting 2",
            ]
            assert sum("DAEMON_LOST (-2)" in line for line in chat.said) == 1
            assert chat.said.count("onSuccess alice") == chat.said.count("onDatabaseOpened") == 1
            assert not any(stage.token("alice") in line for line in chat.said)
        finally:
            await chat.end()


async def test_a_refusal_is_told_by_its_code(stage: Stage) -> None:
    hello = await Program.start(stage.daemon(), "hello.mjs")
    hello.write("no token of anybody's")
    assert hello.process.stdin is not None
    hello.process.stdin.close()
    await soon(hello.process.wait())
    await hello.end()
    assert hello.said[-1] == "RC_CONN_TOKEN_INCORRECT (31004): Get a new token and connect with it."


async def test_the_example_of_the_page_connects(stage: Stage) -> None:
    hello = await Program.start(stage.daemon(), "hello.mjs")
    hello.write(stage.token("alice"))
    assert hello.process.stdin is not None
    hello.process.stdin.close()
    await soon(hello.process.wait())
    await hello.end()
    assert hello.said[-1] == "connected as alice"
