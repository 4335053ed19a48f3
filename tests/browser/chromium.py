"""A headless Chromium, driven by its own protocol: https://chromedevtools.github.io/devtools-protocol/."""

from __future__ import annotations

import itertools
import shutil
import subprocess
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import orjson
import trio
from trio_websocket import ConnectionClosed, WebSocketConnection, open_websocket_url

from tests.npm import lacking

_NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
_START_SECONDS = 120
_PATIENCE_SECONDS = 120


def browser() -> str:
    """Return the program; without one the test is skipped, except where the environment says `CI`."""
    for name in _NAMES:
        if found := shutil.which(name):
            return found
    return lacking("there is no Chromium: apt-get install --no-install-recommends chromium")


class ScriptFailed(AssertionError):
    """The page has thrown something."""


@dataclass
class Session:
    """A connection to a page, or to the browser itself."""

    socket: WebSocketConnection
    loaded: trio.Event = field(default_factory=trio.Event)
    """Set when the page, and all that it loads at once, is there."""
    _numbers: itertools.count[int] = field(default_factory=lambda: itertools.count(1))
    _answers: dict[int, trio.MemorySendChannel[dict[str, Any]]] = field(default_factory=dict)

    async def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Call a method of the protocol, and return its result."""
        number = next(self._numbers)
        send, receive = trio.open_memory_channel[dict[str, Any]](1)
        self._answers[number] = send
        await self.socket.send_message(orjson.dumps({"id": number, "method": method, "params": parameters}).decode())
        with trio.fail_after(_PATIENCE_SECONDS):
            answer = await receive.receive()
        if "error" in answer:
            raise ScriptFailed(f"{method}: {answer['error']}")
        result: dict[str, Any] = answer["result"]
        return result

    async def run(self, script: str) -> Any:
        """Evaluate an expression in the page, wait for it if it is a promise, and return its value."""
        answer = await self.call("Runtime.evaluate", expression=script, awaitPromise=True, returnByValue=True)
        if "exceptionDetails" in answer:
            raise ScriptFailed(orjson.dumps(answer["exceptionDetails"]).decode())
        return answer["result"].get("value")

    async def hear(self) -> None:
        """Take in answers and events, until the browser has gone."""
        while True:
            try:
                message = orjson.loads(await self.socket.get_message())
            except ConnectionClosed:
                return
            if "id" in message:
                self._answers.pop(message["id"]).send_nowait(message)
            elif message["method"] == "Page.loadEventFired":
                self.loaded.set()


@dataclass
class Chromium:
    """A browser that runs."""

    address: str
    nursery: trio.Nursery

    @asynccontextmanager
    async def attached(self, path: str) -> AsyncIterator[Session]:
        """Give a connection to a target of the browser."""
        async with open_websocket_url(f"ws://{self.address}{path}", max_message_size=64 << 20) as socket:
            session = Session(socket)
            self.nursery.start_soon(session.hear)
            yield session


@asynccontextmanager
async def page(url: str, folder: Path, *options: str) -> AsyncIterator[Session]:
    """Open a page in a browser with a fresh profile, where pages may show notifications."""
    profile = folder / "profile"
    log = (folder / "chromium.log").open("wb")
    process = subprocess.Popen(  # noqa: ASYNC220  # a program of the tests' own
        [
            browser(),
            "--headless=new",
            "--no-sandbox",
            "--no-first-run",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            "--disable-component-update",
            "--autoplay-policy=no-user-gesture-required",
            "--remote-debugging-port=0",
            "--remote-allow-origins=*",
            f"--user-data-dir={profile}",
            *options,
            "about:blank",
        ],
        stdin=subprocess.DEVNULL,
        stdout=log,
        stderr=log,
    )
    try:
        with trio.fail_after(_START_SECONDS):
            port_file = profile / "DevToolsActivePort"
            while not port_file.exists() or len(lines := port_file.read_text().split()) < 2:
                assert process.poll() is None, (folder / "chromium.log").read_text(errors="replace")
                await trio.sleep(0.05)
        async with trio.open_nursery() as nursery:
            chromium = Chromium(f"127.0.0.1:{lines[0]}", nursery)
            async with chromium.attached(lines[1]) as whole:
                origin = url.rstrip("/")
                await whole.call("Browser.grantPermissions", origin=origin, permissions=["notifications"])
                target = await whole.call("Target.createTarget", url="about:blank")
                async with chromium.attached(f"/devtools/page/{target['targetId']}") as session:
                    await session.call("Page.enable")
                    await session.call("Page.navigate", url=url)
                    with trio.fail_after(_PATIENCE_SECONDS):
                        await session.loaded.wait()
                    yield session
            nursery.cancel_scope.cancel()
    finally:
        process.kill()
        process.wait()
        log.close()
