"""RabbitMQ with its MQTT plugin."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from interop.broker import CONFIGURATIONS, Broker, debian_version
from kit import free_port, program

SERVER = Path("/usr/lib/rabbitmq/bin/rabbitmq-server")
"""Debian's own script beside it changes to the user rabbitmq."""

STARTED = "Server startup complete"


class RabbitMq(Broker):
    """Users, permissions and topic permissions come from a file of definitions."""

    name = "rabbitmq"

    def version(self) -> str:
        """That of the package."""
        return debian_version("rabbitmq-server")

    def configure(self) -> None:
        """The files of the repository."""
        self._epmd, self._distribution = free_port(), free_port()
        port = {"127.0.0.1:1883": f"127.0.0.1:{self.port}"}
        for name, own in (("rabbitmq.conf", port), ("definitions.json", {}), ("enabled_plugins", {})):
            text = self.fill(CONFIGURATIONS / "rabbitmq" / name, own)
            (self.directory / name).write_text(text)

    def environment(self) -> Mapping[str, str]:
        """A node of its own, with its own port mapper."""
        return {
            "ERL_EPMD_PORT": str(self._epmd),
            "RABBITMQ_NODENAME": f"interop{self.port}@localhost",
            "RABBITMQ_DIST_PORT": str(self._distribution),
            "RABBITMQ_CONFIG_FILE": str(self.directory / "rabbitmq.conf"),
            "RABBITMQ_ENABLED_PLUGINS_FILE": str(self.directory / "enabled_plugins"),
            "RABBITMQ_MNESIA_BASE": str(self.directory / "mnesia"),
            "RABBITMQ_LOG_BASE": str(self.directory / "logs"),
            "RABBITMQ_LOGS": "-",
            "LANG": "C.UTF-8",
        }

    def start(self) -> None:
        """It takes connections some seconds before it answers one."""
        self._starts = self.log().count(STARTED)
        super().start()

    def is_ready(self) -> bool:
        """When it says so."""
        return self.log().count(STARTED) > self._starts

    def commands(self) -> list[list[str]]:
        """The port mapper, which the node would else start for all to keep."""
        return [[program("epmd"), "-address", "127.0.0.1", "-port", str(self._epmd)], [str(SERVER)]]
