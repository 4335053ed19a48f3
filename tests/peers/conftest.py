"""What tests of foreign libraries share: those of npm, installed once."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.npm import installed

JS_SOURCES = Path(__file__).parent / "js"


@pytest.fixture(scope="session")
def js(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder `js`, with matrix-js-sdk installed in it."""
    return installed(JS_SOURCES, tmp_path_factory.mktemp("js"))
