from __future__ import annotations

from collections.abc import Iterator

import pytest

from kit import Stage, a_stage


@pytest.fixture
def stage() -> Iterator[Stage]:
    with a_stage() as stage:
        yield stage
