"""RMQTT: three nodes of one cluster."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import socket
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from interop.broker import CONFIGURATIONS, HOUR, STARTED_WITHIN, Broker, jwt
from kit import APP_KEY, SECRET, TARGET, free_port

PROGRAM = TARGET / "tools" / "rmqttd"
"""What tests/interop.d/rmqtt/build makes."""

FILES = CONFIGURATIONS / "rmqtt"
PLUGINS = ("rmqtt-auth-jwt", "rmqtt-acl", "rmqtt-retainer", "rmqtt-session-storage", "rmqtt-cluster-raft")

RIGHTS = (
    ("publish", f"im/{APP_KEY}/u/+/${{username}}"),
    ("subscribe", f"im/{APP_KEY}/u/${{username}}/+"),
    ("subscribe", f"im/{APP_KEY}/s/${{username}}"),
    ("all", f"im/{APP_KEY}/c/${{username}}/+"),
)
"""What every user may do: it stands in the token."""


RESTART = 1.0
"""Before a node that has ended by itself is started again, in seconds."""


@dataclass(frozen=True)
class Node:
    """One of the three."""

    number: int
    directory: Path
    port: int
    rpc: int
    raft: int


class Rmqtt(Broker):
    """A node is a process in a directory of its own. Users are spread over them: each daemon has the addresses of all,
    beginning with another."""

    name = "rmqtt"
    nodes = 3

    def version(self) -> str:
        """As the program prints it."""
        said = subprocess.run([PROGRAM, "--version"], capture_output=True, text=True, check=True).stdout
        found = re.search(r"\d+\.\d+\.\d+", said)
        assert found is not None, said
        return found[0]

    def token(self, user: str) -> str:
        """Good for the client id of a desktop."""
        return self.token_for(user, f"desktop:{APP_KEY}:{user}")

    def token_for(self, user: str, client_id: str) -> str:
        """A token names the client id it is good for; whoever makes tokens makes none for another user's."""
        own = client_id if client_id.endswith(f":{user}") else f"desktop:{APP_KEY}:{user}"
        acl = [{"permission": "allow", "action": action, "topic": topic} for action, topic in RIGHTS]
        return jwt({"sub": user, "clientid": own, "app": APP_KEY, "exp": int(time.time()) + HOUR, "acl": acl})

    def configure(self) -> None:
        """The files of the repository, for each node."""
        self._cluster = [
            Node(
                number,
                self.directory / f"node{number}",
                self.port if number == 1 else free_port(),
                free_port(),
                free_port(),
            )
            for number in range(1, self.nodes + 1)
        ]
        self._running: dict[int, subprocess.Popen[bytes]] = {}
        addresses: dict[str, str] = {}
        for node in self._cluster:
            addresses[f"{node.number}@127.0.0.1:{5362 + node.number}"] = f"{node.number}@127.0.0.1:{node.rpc}"
            addresses[f"{node.number}@127.0.0.1:{6002 + node.number}"] = f"{node.number}@127.0.0.1:{node.raft}"
        own = {"rmqtt-auth-jwt": {"THE-SECRET": SECRET}, "rmqtt-cluster-raft": addresses}
        for node in self._cluster:
            (node.directory / "plugins").mkdir(parents=True)
            ports = {
                "node.id = 1": f"node.id = {node.number}",
                "127.0.0.1:5363": f"127.0.0.1:{node.rpc}",
                "127.0.0.1:1883": f"127.0.0.1:{node.port}",
            }
            (node.directory / "rmqtt.toml").write_text(self.fill(FILES / "rmqtt.toml", ports))
            for plugin in PLUGINS:
                text = self.fill(FILES / "plugins" / f"{plugin}.toml", own.get(plugin))
                (node.directory / "plugins" / f"{plugin}.toml").write_text(text)

    def urls(self, turn: int) -> list[str]:
        """Of all nodes, from another one on at each turn."""
        first = turn % self.nodes
        return [f"mqtt://127.0.0.1:{node.port}" for node in self._cluster[first:] + self._cluster[:first]]

    def commands(self) -> list[list[str]]:
        """Each node is started in its own directory instead."""
        return []

    def start(self) -> None:
        """All nodes at once: none of them comes up before it has found others."""
        for node in self._cluster:
            self._start_node(node)
        self._wait_for(self._cluster)

    def stop(self) -> None:
        """All of them."""
        self._end_nodes(self._cluster, signal.SIGTERM)

    def kill9(self) -> None:
        """All of them."""
        self._end_nodes(self._cluster, signal.SIGKILL)

    def kill_node(self, turn: int) -> None:
        """One of them, another at each turn."""
        self._end_nodes([self._cluster[turn % self.nodes]], signal.SIGKILL)

    def start_node(self, turn: int) -> None:
        """Starts the one that `kill_node` killed, and waits for it. It may take more than one start."""
        node = self._cluster[turn % self.nodes]
        self._start_node(node)
        self._wait_for([node])

    def log(self) -> str:
        """Of all nodes, one after the other."""
        paths = [node.directory / "log" for node in self._cluster]
        return "".join(f"{path.parent.name}:\n{path.read_text(errors='replace')}" for path in paths if path.exists())

    def _start_node(self, node: Node) -> None:
        environment: Mapping[str, str] = {"PATH": os.environ["PATH"], "HOME": str(node.directory), "NO_COLOR": "1"}
        with (node.directory / "log").open("ab") as log:
            self._running[node.number] = subprocess.Popen(
                [PROGRAM, "-f", "rmqtt.toml"],
                cwd=node.directory,
                env=environment,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _wait_for(self, nodes: list[Node]) -> None:
        until = time.monotonic() + STARTED_WITHIN
        for node in nodes:
            while not _listens(node.port):
                assert time.monotonic() < until, f"a node does not come up:\n{self.log()[-4000:]}"
                time.sleep(0.05)
                # A node that comes back before the others have elected another leader is told that it is the leader
                # itself, and ends. Whatever keeps it in production starts it again.
                if self._running[node.number].poll() is not None:
                    time.sleep(RESTART)
                    self._start_node(node)

    def _end_nodes(self, nodes: list[Node], number: signal.Signals) -> None:
        ending = [process for node in nodes if (process := self._running.pop(node.number, None))]
        for process in ending:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, number)
        for process in ending:
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
