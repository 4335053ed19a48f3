"""What the tests of serving share: the house, and both ways through it."""

from __future__ import annotations

import pytest

from tests.homeserver.serving.house import House


@pytest.fixture
def house() -> House:
    """The handlers."""
    return House()


@pytest.fixture(params=[False, True], ids=["straight", "by quart"])
def by_quart(request: pytest.FixtureRequest) -> bool:
    """Whether everything goes through the web framework."""
    return bool(request.param)
