"""matrix-js-sdk, the library under Element Web, unmodified, against `tricord serve`. The conversations are in `js/`."""

from __future__ import annotations

import subprocess
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
    output = tmp_path / "output"
    status = None
    async with server_process(database_url, tmp_path) as server:
        command = ["node", f"{conversation}.mjs", server.url]
        with output.open("wb") as file, trio.move_on_after(_PATIENCE_SECONDS):
            done = await trio.run_process(command, cwd=js, stdout=file, stderr=subprocess.STDOUT, check=False)
            status = done.returncode
    print(output.read_text(encoding="utf-8", errors="replace"))
    print(server.log)
    assert status == 0, "it took too long" if status is None else f"it ended with status {status}"


def test_the_lock_names_versions_and_hashes_and_no_registry() -> None:
    lock = (JS_SOURCES / "package-lock.json").read_text(encoding="utf-8")
    assert '"resolved"' not in lock
    assert lock.count('"integrity": "sha512-') == lock.count('"node_modules/')
