"""What the tests of serving share: the house, and both ways through it."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.authority import Authority
from tests.homeserver.serving.house import House


@pytest.fixture
def house() -> House:
    """The handlers."""
    return House()


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    """Who signs the certificate of the house."""
    return Authority(tmp_path)


@pytest.fixture(params=[False, True], ids=["straight", "by quart"])
def by_quart(request: pytest.FixtureRequest) -> bool:
    """Whether everything goes through the web framework."""
    return bool(request.param)
