from __future__ import annotations

import faulthandler
from collections.abc import Iterator

import pytest

from kit import Stage, a_stage

HANGS = 240
"""No test takes so many seconds: one that does ends the run, and says where its threads are."""


@pytest.fixture(autouse=True)
def _no_hang(capsys: pytest.CaptureFixture[str]) -> Iterator[None]:
    with capsys.disabled():
        faulthandler.dump_traceback_later(HANGS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture
def stage() -> Iterator[Stage]:
    with a_stage() as stage:
        yield stage
