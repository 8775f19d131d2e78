"""NATS: its MQTT 3.1.1 over JetStream."""

from __future__ import annotations

from interop.broker import CONFIGURATIONS, Broker, debian_version
from kit import free_port, program


class Nats(Broker):
    """Users and what each may do stand in the one file."""

    name = "nats"

    def version(self) -> str:
        """That of the package."""
        return debian_version("nats-server")

    def configure(self) -> None:
        """The file of the repository."""
        own = {
            "127.0.0.1:1883": f"127.0.0.1:{self.port}",
            "127.0.0.1:4222": f"127.0.0.1:{free_port()}",
        }
        text = self.fill(CONFIGURATIONS / "nats" / "nats.conf", own)
        (self.directory / "nats.conf").write_text(text)

    def commands(self) -> list[list[str]]:
        """The program alone."""
        return [[program("nats-server"), "-c", "nats.conf"]]
