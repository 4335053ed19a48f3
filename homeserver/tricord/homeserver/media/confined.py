"""Running a program on foreign bytes: fed by a pipe, read by a pipe, and never left behind."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from pathlib import Path

import trio

_READ = 65_536


class TooMuchOutput(Exception):
    """The program writes more than it may."""


async def run_script(
    script: Path, arguments: Sequence[str], parts: AsyncIterator[bytes], *, max_output: int
) -> tuple[int, bytes]:
    """Run a script of ours on some bytes; return its exit status (negative: the signal that ended it) and its output.

    It sees nothing of our environment and of the working directory. When this is cancelled, it is killed. Raises what
    reading the bytes raises, and TooMuchOutput.
    """
    process = await trio.lowlevel.open_process(
        # -I: nothing is imported from where it is started, or named by the environment.
        [sys.executable, "-I", str(script), *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={},
        cwd="/",
    )
    assert process.stdin is not None  # noqa: S101  # both are pipes
    assert process.stdout is not None  # noqa: S101
    try:
        output = await converse(process.stdin, process.stdout, parts, max_output)
        return await process.wait(), output
    finally:
        process.kill()
        with trio.CancelScope(shield=True):
            await process.wait()


async def converse(
    stdin: trio.abc.SendStream, stdout: trio.abc.ReceiveStream, parts: AsyncIterator[bytes], max_output: int
) -> bytes:
    """Feed a program and return what it says. Raises what reading the bytes raises, and TooMuchOutput."""
    output = bytearray()
    failures: list[Exception] = []
    async with trio.open_nursery() as nursery:

        async def feed() -> None:
            try:
                await _feed(stdin, parts)
            except Exception as error:  # noqa: BLE001  # raised below, as it is and not in a group
                failures.append(error)
                nursery.cancel_scope.cancel()

        nursery.start_soon(feed)
        async with stdout:
            while data := await stdout.receive_some(_READ):
                output += data
                if len(output) > max_output:
                    break
        # It has ended; whatever it has not read, it does not need.
        nursery.cancel_scope.cancel()
    if failures:
        raise failures[0]
    if len(output) > max_output:
        raise TooMuchOutput
    return bytes(output)


async def _feed(stdin: trio.abc.SendStream, parts: AsyncIterator[bytes]) -> None:
    async with stdin:
        try:
            async for part in parts:
                await stdin.send_all(part)
        except trio.BrokenResourceError:
            pass  # it knows enough
