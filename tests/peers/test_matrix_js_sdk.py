"""matrix-js-sdk, the library under Element Web, unmodified, against `tricord serve`. The conversations are in `js/`."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from tests.peers.conftest import JS_SOURCES
from tests.servers import server_process

pytestmark = pytest.mark.peer

_CONVERSATIONS = sorted(file.stem for file in JS_SOURCES.glob("*.mjs") if not file.stem.endswith("people"))
_PATIENCE_SECONDS = 120


@pytest.mark.parametrize("conversation", _CONVERSATIONS)
async def test_matrix_js_sdk_converses(conversation: str, js: Path, database_url: str, tmp_path: Path) -> None:
    def converse(url: str) -> Callable[[], subprocess.CompletedProcess[str]]:
        return lambda: subprocess.run(
            ["node", f"{conversation}.mjs", url],
            cwd=js,
            capture_output=True,
            text=True,
            timeout=_PATIENCE_SECONDS,
            check=False,
        )

    async with server_process(database_url, tmp_path) as server:
        done = await trio.to_thread.run_sync(converse(server.url))
    assert done.returncode == 0, f"{done.stdout[-2000:]}\n{done.stderr[-4000:]}"


def test_the_lock_names_versions_and_hashes_and_no_registry() -> None:
    lock = (JS_SOURCES / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/')
