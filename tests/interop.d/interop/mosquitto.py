"""Mosquitto, with the configuration the other tests use."""

from __future__ import annotations

import shutil
import subprocess

from interop.broker import Broker, debian_version
from kit import MOSQUITTO, program


class Mosquitto(Broker):
    """A password file, and tests/mosquitto."""

    name = "mosquitto"

    def version(self) -> str:
        """That of the package."""
        return debian_version("mosquitto")

    def configure(self) -> None:
        """As tests/mosquitto/README.md says."""
        passwords = self.directory / "passwords"
        passwords.write_text("".join(f"{user}:{token}\n" for user, token in self.tokens.items()))
        subprocess.run([program("mosquitto_passwd"), "-U", passwords], check=True)
        shutil.copy(MOSQUITTO / "acl", self.directory)
        text = self.fill(MOSQUITTO / "mosquitto.conf", {"listener 1883": f"listener {self.port}"})
        # As root Mosquitto would turn into another user, who can't read its directory.
        (self.directory / "mosquitto.conf").write_text(f"{text}log_dest stderr\nuser root\n")

    def commands(self) -> list[list[str]]:
        """The program alone."""
        return [[program("mosquitto"), "-c", "mosquitto.conf"]]
