"""What somebody does who does not use imd: mosquitto_pub and mosquitto_sub, in either version of MQTT."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from interop.broker import Broker
from kit import program

V5 = "5"
V311 = "mqttv311"

REFUSAL = 0x80
"""The lowest reason code of a SUBACK or PUBACK that refuses."""


@dataclass(frozen=True)
class Finished:
    """How a client ended."""

    code: int
    words: str

    @property
    def is_logged_in(self) -> bool:
        """Whether the CONNACK said yes."""
        return "received CONNACK (0)" in self.words

    @property
    def acknowledged(self) -> int | None:
        """The reason code of the PUBACK; `None`: there was none."""
        found = re.search(r"received PUBACK \(Mid: \d+, RC:(\d+)\)", self.words)
        return None if found is None else int(found[1])

    @property
    def is_subscribed(self) -> bool:
        """Whether the SUBACK said yes."""
        found = re.search(r"Subscribed \(mid: \d+\): (\d+)", self.words)
        return found is not None and int(found[1]) < REFUSAL

    @property
    def topics(self) -> list[str]:
        """Those of the messages that came."""
        return re.findall(r"received PUBLISH \(.*?'(.*?)'", self.words)


class Raw:
    """Clients of one user at one broker."""

    def __init__(self, broker: Broker, version: str, user: str, client_id: str) -> None:
        self._broker = broker
        self._version = version
        self._user = user
        self._client_id = client_id

    async def publish(self, topic: str, payload: str = "a word from outside") -> Finished:
        """Publishes once with QoS 1, and leaves."""
        return await self._run("mosquitto_pub", ["-t", topic, "-m", payload], 20)

    async def subscribe(
        self, topic: str, seconds: int, meanwhile: Callable[[], Awaitable[object]] | None = None
    ) -> Finished:
        """Subscribes for so many seconds. `meanwhile` is done when the answer to the SUBSCRIBE is there."""
        arguments = ["-t", topic, "-W", str(seconds)]
        return await self._run("mosquitto_sub", arguments, seconds + 20, meanwhile)

    async def _run(
        self,
        name: str,
        arguments: list[str],
        seconds: int,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> Finished:
        broker = self._broker
        process = await asyncio.create_subprocess_exec(
            *[program("stdbuf"), "-oL", program(name), "-d", "-q", "1", "-V", self._version],
            *["-h", "127.0.0.1", "-p", str(broker.port), "-i", self._client_id],
            *["-u", self._user, "-P", broker.token_for(self._user, self._client_id), *arguments],
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env={"HOME": str(broker.directory)},
        )
        assert process.stdout is not None
        words: list[str] = []

        async def read(stream: asyncio.StreamReader) -> None:
            nonlocal meanwhile
            while line := await stream.readline():
                words.append(line.decode(errors="replace"))
                if meanwhile is not None and "received SUBACK" in words[-1]:
                    waits, meanwhile = meanwhile, None
                    await waits()

        try:
            await asyncio.wait_for(read(process.stdout), seconds)
        except asyncio.TimeoutError:
            process.kill()
        return Finished(await process.wait(), "".join(words))


async def speaks_5(broker: Broker) -> bool:
    """Whether the broker takes MQTT 5."""
    finished = await Raw(broker, V5, "alice", "doctor:demo:alice").publish("im/demo/c/alice/doctor")
    return finished.is_logged_in
