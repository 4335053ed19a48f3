"""The house that is attacked."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from tests.security.house import House, inhabited_house


@pytest.fixture
async def house(database_url: str, tmp_path: Path) -> AsyncIterator[House]:
    async with inhabited_house(database_url, tmp_path) as house:
        yield house
