"""Bots, on both homeservers: over HTTP on the one in memory, over the WebSocket on the real one."""

from __future__ import annotations

import re
import signal
import sys
from functools import partial
from pathlib import Path

import pytest
import trio
import trio.testing

from tests.clients.either_server import EitherServer, RealServer
from tricord.clients import Bot, Client, Invitation, Member, Message, Reaction, SignedOut, WrongArguments
from tricord.clients.testing import PASSWORD, Homeserver, Person, running
from tricord.protocol.identifiers import RoomId, UserId

BOT = "@bot:localhost"


def make_bot(store: Path | None = None, auto_join: tuple[str, ...] | None = None) -> Bot:
    return Bot("http://elsewhere.test", BOT, password=PASSWORD, store=store, auto_join=auto_join)


async def hears(person: Person, room_id: RoomId) -> str:
    with trio.fail_after(60):
        return (await person.hears(room_id)).text


async def room_with(bot: Bot, person: Person) -> RoomId:
    """Make a room, and return it when the bot is in it."""
    with trio.fail_after(60):
        return await person.room_with(bot.user_id)


async def said_in(person: Person, room_id: RoomId, by: UserId) -> list[str]:
    page = await person.messages(room_id, direction="f", limit=100, event_filter={"types": ["m.room.message"]})
    return [event["content"]["body"] for event in page.chunk if event["sender"] == by]


async def test_commands_take_typed_arguments_and_tell_their_usage(server: EitherServer) -> None:
    bot = make_bot()

    @bot.command("add")
    async def add(message: Message, one: int, other: float = 1) -> None:
        """Add two numbers.

        In some detail.
        """
        await message.reply(str(one + other))

    @bot.command("who")
    async def who(message: Message, user: UserId, why: str | None = None) -> None:
        if why == "":
            raise WrongArguments("say why")
        await message.reply(f"{user} {why}")

    alice = await server.user("alice")
    async with server.running(bot):
        room_id = await room_with(bot, alice)
        for said, answer in {
            "!add 1 2.5": "3.5",
            "!add  1\n2": "3.0",
            "!add 41": "42",
            "!add": "one is missing; usage: !add <one> [other]",
            "!add x": "'x' is not a whole number; usage: !add <one> [other]",
            "!add 1 nan": "'nan' is not a number; usage: !add <one> [other]",
            "!add 1 2 3": "'3' is too much; usage: !add <one> [other]",
            "!who @alice:localhost": "@alice:localhost None",
            "!who @alice:localhost for the  tea ": "@alice:localhost for the  tea",
            "!who alice": "'alice' is not a user id; usage: !who <user> [why]",
            "!help": "!add <one> [other]: Add two numbers.\n!who <user> [why]",
        }.items():
            await alice.send_text(room_id, said)
            assert await hears(alice, room_id) == answer
        for unanswered in ("add 1", "!unknown", "!", "! add 1"):
            await alice.send_text(room_id, unanswered)
        await alice.send_text(room_id, "!add 1", notice=True)
        await alice.send_text(room_id, "!add 5 5")
        assert await hears(alice, room_id) == "10.0"


def test_a_command_that_no_text_could_call_is_no_command() -> None:
    bot = make_bot()

    async def nothing() -> None: ...

    async def a_list(message: Message, words: list[str]) -> None: ...

    async def many(message: Message, *words: str) -> None: ...

    for handler in (nothing, a_list, many):
        with pytest.raises(TypeError, match=handler.__name__):
            bot.command("word")(handler)


async def test_handlers_get_the_events_they_ask_for(server: EitherServer) -> None:
    bot = make_bot()
    seen: list[str] = []
    done = trio.Event()

    @bot.on(Message)
    async def on_message(message: Message) -> None:
        seen.append(f"message {message.text}")
        await message.reply("heard")

    @bot.on(Reaction)
    async def on_reaction(reaction: Reaction) -> None:
        seen.append(f"reaction {reaction.key}")

    @bot.on(Member)
    async def on_member(member: Member) -> None:
        seen.append(f"{member.user_id} {member.membership}")
        done.set()

    alice = await server.user("alice")
    async with server.running(bot):
        room_id = await alice.create_room()
        await alice.send_text(room_id, "before it came")
        await alice.invite(room_id, bot.user_id)
        with trio.fail_after(60):
            while bot.user_id not in await alice.joined_members(room_id):
                await trio.lowlevel.checkpoint()
        said = await alice.send_text(room_id, "Hello")
        assert await hears(alice, room_id) == "heard"
        await alice.edit(room_id, said, "Hello again")
        await alice.react(room_id, said, "👋")
        carol = await server.user("carol")
        await alice.invite(room_id, carol.user_id)
        with trio.fail_after(60):
            await done.wait()
    assert seen == ["message Hello", "reaction 👋", "@carol:localhost invite"]
    assert await said_in(alice, room_id, bot.user_id) == ["heard"]


async def test_replies_in_threads_stay_in_the_thread(server: EitherServer) -> None:
    bot = make_bot()

    @bot.on(Message)
    async def answer(message: Message) -> None:
        await message.reply("here")

    alice = await server.user("alice")
    async with server.running(bot):
        room_id = await room_with(bot, alice)
        root = await alice.send_text(room_id, "Tea?")
        assert (await alice.hears(room_id)).in_reply_to == root
        relation = {"rel_type": "m.thread", "event_id": root}
        said = await alice.send(
            room_id, "m.room.message", {"msgtype": "m.text", "body": "Or cake?", "m.relates_to": relation}
        )
        with trio.fail_after(60):
            heard = await alice.hears(room_id)
    assert (heard.relates_to("m.thread"), heard.in_reply_to) == (root, said)


async def test_only_invitations_of_those_on_the_list_are_accepted(server: EitherServer) -> None:
    bot = make_bot(auto_join=("@alice:*",))
    refused: list[tuple[RoomId, UserId | None]] = []
    told = trio.Event()

    @bot.on_invitation
    async def on_invitation(invitation: Invitation) -> None:
        refused.append((invitation.room_id, invitation.sender))
        told.set()

    alice, mallory = await server.user("alice"), await server.user("mallory")
    async with server.running(bot):
        theirs = await mallory.create_room(invite=[bot.user_id])
        with trio.fail_after(60):
            await told.wait()
        await room_with(bot, alice)
        assert refused == [(theirs, mallory.user_id)]
        assert list(await mallory.joined_members(theirs)) == [mallory.user_id]


async def test_a_handler_that_fails_harms_only_its_own_event(server: EitherServer) -> None:
    bot = make_bot()

    @bot.on(Message)
    async def fragile(message: Message) -> None:
        if message.text != "fine":
            raise WrongArguments("no") if message.text == "wrong" else OSError("boom")

    @bot.on(Message)
    async def answer(message: Message) -> None:
        await message.reply(message.text)

    @bot.command("break")
    async def fail(message: Message) -> None:
        bot.start_soon(fail_later)
        raise RuntimeError("boom")

    async def fail_later() -> None:
        raise RuntimeError("boom")

    alice = await server.user("alice")
    async with server.running(bot):
        room_id = await room_with(bot, alice)
        for text in ("bad", "wrong", "!break", "fine"):
            await alice.send_text(room_id, text)
            assert await hears(alice, room_id) == text


async def test_what_was_said_while_the_bot_was_away_is_answered_when_it_is_back(
    server: EitherServer, tmp_path: Path
) -> None:
    seen: list[str] = []

    def the_bot() -> Bot:
        bot = make_bot(tmp_path / "place")

        @bot.on(Message)
        async def note(message: Message) -> None:
            seen.append(message.text)
            if message.text == "last":
                await message.reply("that is all")

        return bot

    alice = await server.user("alice")
    async with server.running(the_bot()) as bot:
        room_id = await room_with(bot, alice)
    for number in range(30):
        await alice.send_text(room_id, str(number))
    other_room = await alice.create_room(invite=[bot.user_id])
    await alice.send_text(room_id, "last")
    async with server.running(the_bot()) as bot:
        assert await hears(alice, room_id) == "that is all"
        with trio.fail_after(60):
            while bot.user_id not in await alice.joined_members(other_room):
                await trio.lowlevel.checkpoint()
    assert seen == [*map(str, range(30)), "last"]


async def test_an_event_that_the_bot_had_not_finished_with_is_handled_again_and_answered_once(
    server: EitherServer, tmp_path: Path
) -> None:
    handled: list[str] = []
    stuck = trio.Event()

    def the_bot() -> Bot:
        bot = make_bot(tmp_path / "place")

        @bot.on(Message)
        async def answer(message: Message) -> None:
            handled.append(message.text)
            await message.reply(f"{message.text} 1")
            if len(handled) == 1:
                stuck.set()
                await trio.sleep_forever()
            await message.reply(f"{message.text} 2")

        @bot.on(Message)
        async def answer_too(message: Message) -> None:
            await message.reply(f"{message.text} 3")

        return bot

    alice = await server.user("alice")
    async with server.running(the_bot()) as bot:
        room_id = await room_with(bot, alice)
        await alice.send_text(room_id, "a")
        with trio.fail_after(60):
            await stuck.wait()
    async with server.running(the_bot()):
        await alice.send_text(room_id, "b")
        assert [await hears(alice, room_id) for _ in range(6)] == ["a 1", "a 2", "a 3", "b 1", "b 2", "b 3"]
    assert handled == ["a", "a", "b"]
    assert len(await said_in(alice, room_id, bot.user_id)) == 6


async def test_a_bot_whose_session_has_ended_signs_in_again_as_the_same_device(
    server: EitherServer, tmp_path: Path
) -> None:
    bot = make_bot(tmp_path / "place")

    @bot.on(Message)
    async def answer(message: Message) -> None:
        await message.reply(bot.client.device_id)

    alice = await server.user("alice")
    async with server.running(bot):
        room_id = await room_with(bot, alice)
        await alice.send_text(room_id, "Which are you?")
        device = await hears(alice, room_id)
        async with Client(server.url, transport=server.transport) as also_the_bot:
            await also_the_bot.login(BOT, PASSWORD)
            await also_the_bot.logout_all()
        await alice.send_text(room_id, "And now?")
        assert await hears(alice, room_id) == device


async def test_a_bot_with_an_access_token_ends_with_its_session(server: EitherServer) -> None:
    async with Client(server.url, transport=server.transport) as session:
        await session.register("bot", PASSWORD)
        bot = Bot(server.url, BOT, access_token=session.access_token, transport=server.transport)
        other = Bot(server.url, "@other:localhost", access_token=session.access_token, transport=server.transport)
        with pytest.raises(ValueError, match="not of @other:localhost"):
            await other.serve()
        with pytest.RaisesGroup(SignedOut):
            async with running(bot):
                await session.logout()
                await trio.sleep_forever()


def test_a_bot_needs_one_way_of_signing_in_and_its_own_file(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="password or with an access token"):
        Bot("http://elsewhere.test", BOT)
    store = tmp_path / "place"
    store.write_text('{"user_id": "@somebody:localhost"}')
    with pytest.raises(ValueError, match="does not hold the place"):
        make_bot(store)
    bot = make_bot()
    with pytest.raises(RuntimeError, match="not running"):
        bot.start_soon(trio.sleep, 1)


async def test_an_answer_that_finds_no_homeserver_is_given_when_it_is_back(
    in_memory: Homeserver, autojump_clock: trio.testing.MockClock
) -> None:
    bot = make_bot()
    attempts = 0

    @bot.on(Message)
    async def answer(message: Message) -> None:
        nonlocal attempts
        attempts += 1
        await message.reply("first")
        if attempts == 1:
            with in_memory.unreachable():
                await message.reply("second")
        await message.reply("second")

    alice = await in_memory.user("alice")
    async with in_memory.running(bot):
        room_id = await room_with(bot, alice)
        await alice.send_text(room_id, "Hello")
        await trio.sleep(3600)
        assert [(await alice.hears(room_id)).text for _ in range(2)] == ["first", "second"]
        with in_memory.unreachable():
            await trio.sleep(3600)
        await alice.send_text(room_id, "Still there?")
        assert [(await alice.hears(room_id)).text for _ in range(2)] == ["first", "second"]
    assert attempts == 3


BOT_PROGRAM = """
import sys
from functools import partial
from tricord.clients import Bot, Message
bot = Bot(sys.argv[1], "@bot:localhost", password=sys.argv[2])
@bot.on(Message)
async def answer(message: Message) -> None:
    await message.reply("here")
bot.run()
"""


async def test_a_wrong_password_is_told_in_a_line(real: RealServer) -> None:
    arguments = [sys.executable, "-c", BOT_PROGRAM, real.url, "wrong"]
    with trio.fail_after(60):
        done = await trio.run_process(arguments, capture_stderr=True, check=False)
    assert done.returncode == 1
    assert re.fullmatch(rb"@bot:localhost has stopped: M_FORBIDDEN \(403\): .+\n", done.stderr), done.stderr


@pytest.mark.parametrize("stop", [signal.SIGINT, signal.SIGTERM])
async def test_a_signal_ends_a_bot_in_peace(real: RealServer, stop: signal.Signals) -> None:
    alice = await real.user("alice")
    async with Client(real.url) as account:
        await account.register("bot", PASSWORD)
    arguments = [sys.executable, "-c", BOT_PROGRAM, real.url, PASSWORD]
    async with trio.open_nursery() as nursery:
        process: trio.Process = await nursery.start(partial(trio.run_process, arguments, check=False))
        with trio.fail_after(60):
            room_id = await alice.create_room(invite=[UserId(BOT)])
            while UserId(BOT) not in await alice.joined_members(room_id):
                await trio.lowlevel.checkpoint()
            await alice.send_text(room_id, "Are you there?")
            assert await hears(alice, room_id) == "here"
            process.send_signal(stop)
            assert await process.wait() == 0
