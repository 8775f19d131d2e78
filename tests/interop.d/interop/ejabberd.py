"""ejabberd: its MQTT with JWT."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Mapping
from pathlib import Path

from interop.broker import CONFIGURATIONS, HOUR, Broker, debian_version, jwt
from kit import APP_KEY, SECRET, program


class Ejabberd(Broker):
    """The program as Debian has it, run as whoever runs the tests and not under ejabberdctl, which only root and
    the user ejabberd may use."""

    name = "ejabberd"

    def version(self) -> str:
        """That of the package."""
        return debian_version("ejabberd")

    def token(self, user: str) -> str:
        """A JWT that has the account's whole name as well: ejabberd reads it there, imd reads `sub`."""
        until = int(time.time()) + HOUR
        return jwt({"sub": user, "jid": f"{user}@localhost", "app": APP_KEY, "exp": until})

    def configure(self) -> None:
        """The file of the repository, and the key beside it."""
        port = {"port: 1883": f"port: {self.port}"}
        text = self.fill(CONFIGURATIONS / "ejabberd" / "ejabberd.yml", port)
        (self.directory / "ejabberd.yml").write_text(text)
        secret = base64.urlsafe_b64encode(SECRET.encode()).rstrip(b"=").decode()
        (self.directory / "jwt.jwk").write_text(json.dumps({"kty": "oct", "k": secret}))

    def environment(self) -> Mapping[str, str]:
        """What ejabberdctl would say."""
        return {
            "ERL_LIBS": str(next(Path("/usr/lib").glob("*/ejabberd-*")).parent),
            "EJABBERD_CONFIG_PATH": str(self.directory / "ejabberd.yml"),
            "EJABBERD_LOG_PATH": str(self.directory / "ejabberd.log"),
        }

    def commands(self) -> list[list[str]]:
        """The virtual machine, with no name: nothing else talks to it."""
        spool = ["-mnesia", "dir", f'"{self.directory / "spool"}"']
        return [[program("erl"), "-noinput", *spool, "-s", "ejabberd"]]
