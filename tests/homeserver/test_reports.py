"""Users report events, rooms and people, and who runs the server goes through that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import trio

from tests.homeserver.cli.commands import Outcome, tricord
from tests.servers import running_homeserver, signed_in
from tricord.clients import Client, Refused
from tricord.homeserver.clock import SystemClock
from tricord.homeserver.moderation.reports import ReportDesk
from tricord.homeserver.storage.database import open_database
from tricord.protocol.errors import NotFound
from tricord.protocol.identifiers import RoomId, UserId


@pytest.fixture
async def desk(database_url: str) -> AsyncIterator[ReportDesk]:
    async with open_database(database_url, connections=2) as database:
        yield ReportDesk(database, SystemClock())


async def test_a_reported_event_is_kept_as_it_was(alice: Client, bob: Client, desk: ReportDesk) -> None:
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    said = await alice.send_text(room_id, "something rude")
    await bob.report_event(room_id, said, "rude\0")
    await alice.redact(room_id, said)
    (report,) = [one async for one in desk.reports()]
    assert (report.reporter, report.about_user, report.room_id) == (bob.user_id, alice.user_id, room_id)
    assert report.event_json is not None
    assert b"something rude" in report.event_json
    assert report.reason == "rude\ufffd"


async def test_only_members_report_events_and_only_those_they_see(alice: Client, bob: Client, desk: ReportDesk) -> None:
    room_id = await alice.create_room(preset="public_chat")
    hidden = {"history_visibility": "joined"}
    await alice.set_state(room_id, "m.room.history_visibility", hidden)
    said = await alice.send_text(room_id, "before")
    for _ in range(2):
        with pytest.raises(Refused) as refusal:
            await bob.report_event(room_id, said)
        assert (refusal.value.status, refusal.value.errcode) == (404, "M_NOT_FOUND")
        await bob.join(room_id)
    elsewhere = await alice.create_room()
    with pytest.raises(Refused):
        await alice.report_event(elsewhere, said)
    assert [one async for one in desk.reports()] == []


async def test_what_exists_is_not_told_by_reporting_it(alice: Client, bob: Client, desk: ReportDesk) -> None:
    private = await alice.create_room()
    for room_id in (private, RoomId("!none:hs.test"), RoomId("!none:elsewhere.test")):
        await bob.report_room(room_id, "looks bad")
    for user_id in (alice.user_id, UserId("@none:hs.test"), UserId("@none:elsewhere.test")):
        await bob.report_user(user_id, "looks bad")
    assert len([one async for one in desk.reports()]) == 6


async def test_reports_are_closed_once_dealt_with(bob: Client, desk: ReportDesk) -> None:
    await bob.report_room(RoomId("!a:hs.test"))
    await bob.report_room(RoomId("!b:hs.test"))
    (first, second) = [one async for one in desk.reports()]
    await desk.close(first.report_id)
    assert [one.report_id async for one in desk.reports()] == [second.report_id]
    assert len([one async for one in desk.reports(closed_too=True)]) == 2
    with pytest.raises(NotFound):
        await desk.close(99)


async def test_reports_are_rationed(database_url: str, tmp_path: Path) -> None:
    limits = {"reports": {"per_second": 0.001, "burst": 2}}
    async with (
        running_homeserver(database_url, tmp_path, rate_limits=limits) as homeserver,
        signed_in(homeserver, "alice", patience_seconds=0) as alice,
    ):
        await alice.report_room(RoomId("!a:hs.test"))
        await alice.report_user(UserId("@a:hs.test"))
        with pytest.raises(Refused) as refusal:
            await alice.report_room(RoomId("!a:hs.test"))
        assert (refusal.value.status, refusal.value.errcode) == (429, "M_LIMIT_EXCEEDED")


async def test_the_operator_reads_them_on_the_command_line(
    database_url: str, tmp_path: Path, alice: Client, bob: Client
) -> None:
    room_id = await alice.create_room(preset="public_chat")
    await bob.join(room_id)
    said = await alice.send_text(room_id, "something rude")
    await bob.report_event(room_id, said, "rude \x1b[2J")
    await bob.report_user(alice.user_id)
    (tmp_path / "tricord.toml").write_text(f'server_name = "hs.test"\n[database]\nurl = "{database_url}"\n')

    async def report(*words: str) -> Outcome:
        return await trio.to_thread.run_sync(lambda: tricord(tmp_path, "report", *words, "--config", "tricord.toml"))

    listed = (await report("list")).good().splitlines()
    assert f"event {said} of {alice.user_id} in {room_id}, by {bob.user_id}: rude \\x1b[2J" in listed[0]
    assert f"user {alice.user_id}, by {bob.user_id}" in listed[1]
    number = listed[0].split()[0]
    assert "something rude" in (await report("show", number)).good()
    (await report("close", number)).good()
    assert len((await report("list")).good().splitlines()) == 1
    assert len((await report("list", "--all")).good().splitlines()) == 2
    assert "there is no report 99" in (await report("show", "99")).fault()
