"""Programs that are fed foreign bytes."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.federation.servers import in_parts
from tricord.homeserver.media.blobs import StoreUnavailable
from tricord.homeserver.media.confined import TooMuchOutput, run_script


def script(folder: Path, text: str) -> Path:
    file = folder / "script.py"
    file.write_text(text)
    return file


async def test_a_script_gets_and_gives_bytes_and_sees_nothing_of_ours(tmp_path: Path) -> None:
    text = "import os, sys; sys.stdout.write(sys.stdin.read() + sys.argv[1] + str(len(os.environ)) + os.getcwd())"
    status, output = await run_script(script(tmp_path, text), ["x"], in_parts(b"tea" * 100_000), max_output=1_000_000)
    assert status == 0
    assert output[:300_000] == b"tea" * 100_000
    assert output[300_000:].startswith(b"x")
    assert output.endswith(b"/")


async def test_a_script_may_end_before_it_has_read_all(tmp_path: Path) -> None:
    status, output = await run_script(script(tmp_path, "exit(4)"), [], in_parts(b"x" * 1_000_000, 65_536), max_output=9)
    assert (status, output) == (4, b"")


async def test_a_script_that_says_too_much_is_ended(tmp_path: Path) -> None:
    with pytest.raises(TooMuchOutput):
        await run_script(script(tmp_path, "while True: print('x' * 1000)"), [], in_parts(b""), max_output=5000)


async def test_a_script_that_does_not_end_is_killed(tmp_path: Path) -> None:
    done = False
    with trio.move_on_after(0.3) as patience:
        await run_script(script(tmp_path, "while True: pass"), [], in_parts(b""), max_output=9)
        done = True
    assert patience.cancelled_caught
    assert not done


async def test_bytes_that_cannot_be_read_are_told_of_as_such(tmp_path: Path) -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x"
        raise StoreUnavailable("it is gone")

    with pytest.raises(StoreUnavailable):
        await run_script(script(tmp_path, "import sys; sys.stdin.read()"), [], broken(), max_output=9)
