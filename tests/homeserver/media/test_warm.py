"""A script that is held ready, and runs in copies."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio

from tests.federation.servers import in_parts
from tricord.homeserver.media.confined import TooMuchOutput
from tricord.homeserver.media.warm import WarmScript

SCRIPT = """
import os, sys
ready = []
def prepare():
    ready.append(os.getpid())
def main(arguments):
    ready.append(1)
    data = sys.stdin.buffer.read()
    exec(arguments[0])
    sys.stdout.flush()
    return len(ready)
"""


@asynccontextmanager
async def script(folder: Path) -> AsyncIterator[WarmScript]:
    file = folder / "script.py"
    file.write_text(SCRIPT)
    warm = WarmScript(file)
    try:
        yield warm
    finally:
        await warm.aclose()


async def test_each_job_has_a_copy_that_nothing_was_done_to(tmp_path: Path) -> None:
    async with script(tmp_path) as warm:
        found = []

        async def job(number: int) -> None:
            words = ["sys.stdout.write(f'{ready[0]} {os.getpid()} {len(data)} ' + arguments[1])", str(number)]
            status, output = await warm.run(words, in_parts(b"x" * number * 100_000, 65_536), max_output=1000)
            assert status == 2
            found.append(output.decode().split())

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(job, number)
    assert {(int(words[3]), int(words[2])) for words in found} == {(each, each * 100_000) for each in range(5)}
    assert len({words[0] for words in found}) == 1
    assert len({words[1] for words in found}) == 5


async def test_a_copy_sees_nothing_of_ours(tmp_path: Path) -> None:
    words = ["sys.stdout.write(f'{len(os.environ)} {os.getcwd()} {sorted(map(int, os.listdir(\"/proc/self/fd\")))}')"]
    async with script(tmp_path) as warm:
        _, output = await warm.run(words, in_parts(b""), max_output=1000)
    # The last is that of the listing itself.
    assert output in (b"0 / [0, 1, 2, 3]", b"1 / [0, 1, 2, 3]")


@pytest.mark.parametrize(
    ("words", "status"),
    [("os.kill(os.getpid(), 9)", -signal.SIGKILL), ("raise ValueError", 1), ("os._exit(4)", 4)],
)
async def test_how_a_copy_ends_is_told(tmp_path: Path, words: str, status: int) -> None:
    async with script(tmp_path) as warm:
        assert await warm.run([words], in_parts(b""), max_output=9) == (status, b"")
        assert await warm.run(["1"], in_parts(b""), max_output=9) == (2, b"")


async def test_a_copy_that_says_too_much_or_takes_too_long_is_killed(tmp_path: Path) -> None:
    endless = "sys.stdout.write('x' * 9)\nsys.stdout.flush()\nwhile True: pass"
    pid_file = tmp_path / "pid"
    async with script(tmp_path) as warm:
        with pytest.raises(TooMuchOutput):
            await warm.run(["while True: print('x' * 1000)"], in_parts(b""), max_output=5000)
        async with trio.open_nursery() as nursery:
            words = f"open({str(pid_file)!r}, 'w').write(str(os.getpid()))\n" + endless
            nursery.start_soon(lambda: warm.run([words], in_parts(b""), max_output=100))
            with trio.fail_after(60):
                while not pid_file.exists() or not pid_file.read_text():  # noqa: ASYNC110  # a look is all there is
                    await trio.sleep(0.01)
            nursery.cancel_scope.cancel()
        with trio.fail_after(60):
            while _runs(int(pid_file.read_text())):  # noqa: ASYNC110  # a look is all there is
                await trio.sleep(0.01)
        assert await warm.run(["1"], in_parts(b""), max_output=9) == (2, b"")


async def test_it_is_started_again_when_it_has_been_killed(tmp_path: Path) -> None:
    async with script(tmp_path) as warm:
        kill = "os.kill(ready[0], 9)\nimport time\nwhile os.getppid() == ready[0]: time.sleep(0.01)"
        status, _ = await warm.run([kill], in_parts(b""), max_output=9)
        assert status == 1
        assert await warm.run(["1"], in_parts(b""), max_output=9) == (2, b"")


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True
