"""What the pages show is run as it stands there."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from kit import REPOSITORY, Daemon, Stage

PAGES = [Path("client-lib/python/README.md"), Path("README.md")]


def examples() -> list[tuple[str, str]]:
    return [
        (f"{page}: {number}", block.partition("```")[0])
        for page in PAGES
        for number, block in enumerate((REPOSITORY / page).read_text().split("```python\n")[1:])
    ]


@pytest.mark.parametrize("example", [pytest.param(text, id=place) for place, text in examples()])
def test_an_example_runs(stage: Stage, example: str) -> None:
    daemon = stage.daemon()
    output = run(daemon, [sys.executable, "-c", example], stage.token("alice"))
    assert "SENT" in output or "开会吗?" in output
    assert stage.token("alice") not in output


def test_the_kept_example_is_that_of_the_page() -> None:
    kept = (REPOSITORY / "client-lib/python/examples/hello.py").read_text()
    assert examples()[0][1] in kept


def test_the_node_example_of_the_pages_is_the_kept_one() -> None:
    kept = (REPOSITORY / "client-lib/node/hello.mjs").read_text()
    pages = [(REPOSITORY / page).read_text() for page in ("client-lib/node/README.md", "README.md")]
    blocks = [block.partition("```")[0] for page in pages for block in page.split("```js\n")[1:]]
    assert blocks
    for block in blocks:
        assert block in kept


def run(daemon: Daemon, command: list[str], token: str) -> str:
    environment = {
        **os.environ,
        "IMD_SOCKET": str(daemon.socket),
        "PYTHONPATH": os.pathsep.join(sys.path),
    }
    done = subprocess.run(
        command, input=f"{token}\n", env=environment, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout
