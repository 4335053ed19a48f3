"""The bots in `examples/` and the code on the pages do what they say."""

from __future__ import annotations

import importlib.util
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from tests.clients.either_server import EitherServer, RealServer
from tricord.clients import Bot
from tricord.clients.testing import PASSWORD, Homeserver

ROOT = Path(__file__).parents[2]


def code_of(page: str, heading: str) -> str:
    """Return the first Python block below a heading of a page."""
    text = (ROOT / page).read_text(encoding="utf-8").partition(f"\n## {heading}\n")[2]
    found = re.search(r"```python\n(.*?)```", text, re.DOTALL)
    assert found is not None
    return found[1]


@pytest.fixture
def example(monkeypatch: pytest.MonkeyPatch) -> Any:
    monkeypatch.setenv("BOT_PASSWORD", PASSWORD)

    def load(name: str) -> Bot:
        specification = importlib.util.spec_from_file_location(name, ROOT / "examples" / f"{name}.py")
        assert specification is not None
        assert specification.loader is not None
        module = importlib.util.module_from_spec(specification)
        specification.loader.exec_module(module)
        bot = module.bot
        assert isinstance(bot, Bot)
        return bot

    return load


async def test_the_echo_bot_echoes(server: EitherServer, example: Any) -> None:
    bot = example("echo_bot")
    async with server.running(bot):
        alice = await server.user("alice")
        with trio.fail_after(60):
            room_id = await alice.room_with(bot.user_id)
            await alice.send_text(room_id, "!echo Hello  there")
            assert (await alice.hears(room_id)).text == "Hello  there"
            await alice.send_text(room_id, "!help")
            assert (await alice.hears(room_id)).text == "!echo <text>: Say it again."


async def test_the_reminder_bot_reminds(server: EitherServer, example: Any) -> None:
    bot = example("reminder_bot")
    async with server.running(bot):
        alice = await server.user("alice")
        with trio.fail_after(60):
            room_id = await alice.room_with(bot.user_id)
            said = await alice.send_text(room_id, "!remind 0 water the plants")
            heard = await alice.hears(room_id)
            assert (heard.text, heard.in_reply_to) == ("water the plants", said)
            await alice.send_text(room_id, "!remind soon water the plants")
            assert "'soon' is not a number" in (await alice.hears(room_id)).text


async def test_the_reminder_bot_reminds_in_time(in_memory: Homeserver, example: Any, autojump_clock: MockClock) -> None:
    bot = example("reminder_bot")
    async with in_memory.running(bot):
        alice = await in_memory.user("alice")
        room_id = await alice.room_with(bot.user_id)
        began = trio.current_time()
        await alice.send_text(room_id, "!remind 60 feed the cat")
        await alice.send_text(room_id, "!remind 10 water the plants")
        assert (await alice.hears(room_id)).text == "water the plants"
        assert trio.current_time() - began == pytest.approx(600, abs=1)
        assert (await alice.hears(room_id)).text == "feed the cat"
        assert trio.current_time() - began == pytest.approx(3600, abs=1)


async def test_a_bot_can_be_tested_again_on_another_homeserver(example: Any) -> None:
    from tricord.clients.testing import homeserver

    bot = example("echo_bot")
    for _ in range(2):
        async with homeserver() as in_memory, in_memory.running(bot):
            alice = await in_memory.user("alice")
            room_id = await alice.room_with(bot.user_id)
            await alice.send_text(room_id, "!echo Hello")
            assert (await alice.hears(room_id)).text == "Hello"


@pytest.mark.parametrize(("page", "heading"), [("README.md", "Write a bot"), ("docs/sdk.md", "Bot")])
async def test_the_bot_on_the_page_answers(
    in_memory: Homeserver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, page: str, heading: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Bot, "run", lambda _: None)
    names: dict[str, Any] = {}
    exec(compile(code_of(page, heading), page, "exec"), names)  # noqa: S102  # our own page
    async with in_memory.running(names["bot"]) as bot:
        alice = await in_memory.user("alice")
        room_id = await alice.room_with(bot.user_id)
        await alice.send_text(room_id, "!echo Hello")
        assert (await alice.hears(room_id)).text == "Hello"


async def test_the_client_on_the_page_talks(real: RealServer, tmp_path: Path) -> None:
    await real.user("alice")
    program = tmp_path / "program.py"
    program.write_text(code_of("docs/sdk.md", "Client").replace("http://127.0.0.1:8008", real.url), encoding="utf-8")
    done = await trio.run_process([sys.executable, program], capture_stdout=True)
    assert done.stdout.startswith(b"['!")


def test_the_test_on_the_page_passes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BOT_PASSWORD", PASSWORD)
    (tmp_path / "test_echo_bot.py").write_text(code_of("docs/sdk.md", "Tests"), encoding="utf-8")
    (tmp_path / "echo_bot.py").write_bytes((ROOT / "examples" / "echo_bot.py").read_bytes())
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "."],
        cwd=tmp_path,
        check=False,
        capture_output=True,
        text=True,
    )
    assert "1 passed" in done.stdout, done.stdout
