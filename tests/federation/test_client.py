from __future__ import annotations

import contextlib
from typing import Any

import orjson
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from tests.federation.servers import HERE, THERE, HandClock, Request, ScriptedNetwork, new_key
from tricord.federation.answers import read_answer
from tricord.federation.client import FederationClient
from tricord.federation.errors import PeerAnswerInvalid, PeerRefused, PeerUnreachable
from tricord.federation.health import PeerHealth
from tricord.federation.peers import Peers
from tricord.federation.request_auth import RequestAuthenticator
from tricord.federation.transport import Response
from tricord.protocol.errors import BadJson
from tricord.protocol.identifiers import DeviceId, EventId, RoomAlias, RoomId, UserId
from tricord.protocol.strict_json import MAX_DEPTH
from tricord.protocol.verify import KeyName, ServerKey

ROOM = RoomId("!r:there.example")
EVENT = EventId("$" + "A" * 43)
ALICE = UserId("@alice:here.example")
BOB = UserId("@bob:there.example")
KEY = new_key()


@pytest.fixture
def network() -> ScriptedNetwork:
    return ScriptedNetwork()


@pytest.fixture
def peers(network: ScriptedNetwork) -> Peers:
    return Peers(FederationClient(network, HERE, KEY))


async def test_the_other_server_can_tell_who_signed_a_call(network: ScriptedNetwork, peers: Peers) -> None:
    class OurKey:
        async def keys(self, names: Any, *, valid_at_ts: int) -> dict[KeyName, ServerKey]:
            del names, valid_at_ts
            return {(HERE, KEY.key_id): ServerKey(KEY.public_key, 2**53)}

    network.says({"pdus": {}})
    await peers.send_transaction(THERE, "a/b", 1, [b'{"depth":1e2,"b":1}'], [{"edu_type": "m.typing"}])
    request = network.requests[0]
    assert request.uri == "/_matrix/federation/v1/send/a%2Fb"
    assert request.body["pdus"] == [{"depth": 100, "b": 1}]
    there = RequestAuthenticator(THERE, OurKey(), PeerHealth(), HandClock())
    origin = await there.origin_of(request.method, request.uri, [request.headers["Authorization"]], request.body)
    assert origin == HERE


async def test_lists_and_flags_are_written_into_the_query(network: ScriptedNetwork, peers: Peers) -> None:
    network.says({"room_version": "11", "event": {"type": "m.room.member"}})
    template = await peers.make_join(THERE, ROOM, ALICE, ["10", "11"])
    assert template.room_version == "11"
    assert network.requests[0].uri.endswith("/make_join/%21r%3Athere.example/%40alice%3Ahere.example?ver=10&ver=11")
    network.says({"room": {}, "children": [], "inaccessible_children": []})
    await peers.hierarchy(THERE, ROOM, suggested_only=True)
    assert network.requests[1].uri.endswith("?suggested_only=true")


async def test_a_refusal_is_told_with_status_errcode_and_words(network: ScriptedNetwork, peers: Peers) -> None:
    network.says({"errcode": "M_LIMIT_EXCEEDED", "error": "slow down", "retry_after_ms": 1500}, status=429)
    with pytest.raises(PeerRefused, match="slow down") as refused:
        await peers.event(THERE, EVENT)
    assert (refused.value.status, refused.value.errcode) == (429, "M_LIMIT_EXCEEDED")
    assert refused.value.retry_after_seconds == 1.5


@pytest.mark.parametrize("body", [b"", b"<html>", b"[]", b'{"errcode":1,"error":[]}', b"[" * 5000])
async def test_a_refusal_that_says_nothing_is_one_all_the_same(
    network: ScriptedNetwork, peers: Peers, body: bytes
) -> None:
    network.says(body, status=404)
    with pytest.raises(PeerRefused) as refused:
        await peers.event(THERE, EVENT)
    assert refused.value.errcode == "M_UNKNOWN"


async def test_a_redirect_is_no_answer(network: ScriptedNetwork, peers: Peers) -> None:
    network.says({}, status=302)
    with pytest.raises(PeerAnswerInvalid):
        await peers.version(THERE)


@pytest.mark.parametrize("status", [502, 503, 504, 522])
async def test_a_gateway_without_its_server_is_nobody(network: ScriptedNetwork, peers: Peers, status: int) -> None:
    network.says(b"<html>Bad Gateway</html>", status=status)
    with pytest.raises(PeerUnreachable):
        await peers.event(THERE, EVENT)
    network.says({"pdus": [{}]})
    with pytest.raises(PeerUnreachable, match="left alone"):
        await peers.event(THERE, EVENT)


async def test_a_matrix_error_with_status_502_is_of_the_server(network: ScriptedNetwork, peers: Peers) -> None:
    network.says({"errcode": "M_UNKNOWN", "error": "busy"}, status=502)
    with pytest.raises(PeerRefused):
        await peers.event(THERE, EVENT)


async def test_what_nobody_waits_for_is_not_tried_while_a_server_is_away(
    network: ScriptedNetwork, peers: Peers, autojump_clock: MockClock
) -> None:
    with pytest.raises(PeerUnreachable):
        await peers.backfill(THERE, ROOM, [EVENT], 10)
    with pytest.raises(PeerUnreachable):
        await peers.backfill(THERE, ROOM, [EVENT], 10)
    assert len(network.requests) == 1
    network.says({"room_id": ROOM, "servers": []})
    await peers.query_directory(THERE, RoomAlias("#a:there.example"))
    network.says({"pdus": []})
    assert await peers.backfill(THERE, ROOM, [EVENT], 10) == []
    assert len(network.requests) == 3


async def test_a_server_that_never_answers_is_given_up(
    network: ScriptedNetwork, peers: Peers, autojump_clock: MockClock
) -> None:
    async def never(_: Request) -> Response:
        await trio.sleep_forever()
        raise AssertionError

    network.answer = never
    with pytest.raises(PeerUnreachable, match="within 10 s"):
        await peers.version(THERE)


async def test_a_server_does_not_call_itself(network: ScriptedNetwork, peers: Peers) -> None:
    with pytest.raises(PeerUnreachable):
        await peers.version(HERE)
    assert network.requests == []


async def test_malformed_answers_are_told_from_refusals(network: ScriptedNetwork, peers: Peers) -> None:
    deep = b'{"state":' + b"[" * 600 + b"]" * 600 + b',"auth_chain":[]}'
    for answer in (
        b"",
        b"nonsense",
        b"[]",
        b"{}",
        b'{"state":{},"auth_chain":[]}',
        b'{"state":[1],"auth_chain":[]}',
        b'{"state":[],"auth_chain":[],"members_omitted":"yes"}',
        b'{"state":[],"auth_chain":[],"event":[]}',
        b'{"state":[],"auth_chain":[],"x":{"a":' + b'{"a":' * 200 + b"1" + b"}" * 200 + b"}}",
        b"[" * 100_000,
    ):
        network.says(answer)
        with pytest.raises(PeerAnswerInvalid):
            await peers.send_join(THERE, ROOM, EVENT, {}, False)
    network.says(deep)
    assert (await peers.send_join(THERE, ROOM, EVENT, {}, False)).state == []


async def test_an_event_that_is_nested_too_deep_is_left_out_of_the_state(
    network: ScriptedNetwork, peers: Peers
) -> None:
    deep: Any = 1
    for _ in range(MAX_DEPTH + 5):
        deep = {"a": deep}
    network.says({"state": [{"type": "a"}, deep, {"type": "b"}], "auth_chain": [], "servers_in_room": ["x", "_"]})
    joined = await peers.send_join(THERE, ROOM, EVENT, {}, True)
    assert joined.state == [{"type": "a"}, {"type": "b"}]
    assert joined.servers_in_room == ["x"]


async def test_large_answers_are_read_too(network: ScriptedNetwork, peers: Peers) -> None:
    network.says({"state": [{"n": number} for number in range(50_000)], "auth_chain": []})
    assert len((await peers.send_join(THERE, ROOM, EVENT, {}, False)).state) == 50_000


async def test_an_invitation_falls_back_to_the_first_version_for_old_rooms_only(
    network: ScriptedNetwork, peers: Peers
) -> None:
    async def old_server(request: Request) -> Response:
        if "/v2/" in request.uri:
            return Response(404, {}, b'{"errcode":"M_UNRECOGNIZED"}')
        return Response(200, {}, orjson.dumps([200, {"event": {**request.body, "signed": True}}]))

    network.answer = old_server
    signed = await peers.invite(THERE, ROOM, EVENT, {"type": "m.room.member"}, "1", [{"type": "m.room.name"}])
    assert signed == {
        "type": "m.room.member",
        "signed": True,
        "unsigned": {"invite_room_state": [{"type": "m.room.name"}]},
    }
    with pytest.raises(PeerRefused):
        await peers.invite(THERE, ROOM, EVENT, {}, "6", [])


@pytest.mark.parametrize(("status", "errcode"), [(400, "M_UNKNOWN"), (404, "M_NOT_FOUND")])
async def test_a_server_that_refuses_an_invitation_is_asked_in_the_older_way_whatever_it_says(
    network: ScriptedNetwork, peers: Peers, status: int, errcode: str
) -> None:
    older = Response(200, {}, orjson.dumps([200, {"event": {"signed": True}}]))

    async def server(request: Request) -> Response:
        return Response(status, {}, orjson.dumps({"errcode": errcode})) if "/v2/" in request.uri else older

    network.answer = server
    assert await peers.invite(THERE, ROOM, EVENT, {}, "2", []) == {"signed": True}
    # A server that does not know the older way has said what it has to say.
    older = Response(404, {}, b'{"errcode":"M_UNRECOGNIZED"}')
    with pytest.raises(PeerRefused) as refusal:
        await peers.invite(THERE, ROOM, EVENT, {}, "2", [])
    assert refusal.value.errcode == errcode
    older = Response(403, {}, b'{"errcode":"M_INVITE_BLOCKED"}')
    with pytest.raises(PeerRefused) as refusal:
        await peers.invite(THERE, ROOM, EVENT, {}, "2", [])
    assert refusal.value.errcode == "M_INVITE_BLOCKED"


async def test_a_server_says_of_its_own_users_alone_whose_an_openid_token_is(
    network: ScriptedNetwork, peers: Peers
) -> None:
    network.says({"sub": BOB})
    assert await peers.openid_userinfo(THERE, "token") == BOB
    network.says({"sub": ALICE})
    with pytest.raises(PeerAnswerInvalid):
        await peers.openid_userinfo(THERE, "token")


async def test_answers_about_others_than_were_asked_for_are_dropped(network: ScriptedNetwork, peers: Peers) -> None:
    network.says({"device_keys": {BOB: {"D": {}}, ALICE: {"E": {}}}, "master_keys": {ALICE: {}}})
    answer = await peers.keys_query(THERE, {BOB: []})
    assert answer.device_keys == {BOB: {"D": {}}}
    assert answer.master_keys == {}
    network.says({"one_time_keys": {BOB: {"D": {"k": {}}, "E": {"k": {}}}, ALICE: {"F": {}}}})
    claimed = await peers.keys_claim(THERE, {BOB: {DeviceId("D"): "signed_curve25519"}})
    assert claimed == {BOB: {"D": {"k": {}}}}


async def test_the_devices_of_somebody_else_are_no_answer(network: ScriptedNetwork, peers: Peers) -> None:
    network.says({"user_id": ALICE, "stream_id": 1, "devices": []})
    with pytest.raises(PeerAnswerInvalid):
        await peers.user_devices(THERE, BOB)


async def test_results_of_a_transaction_are_read_as_far_as_they_can_be(network: ScriptedNetwork, peers: Peers) -> None:
    network.says({"pdus": {"$a": {}, "$b": {"error": "no"}, "$c": 5}})
    assert await peers.send_transaction(THERE, "1", 1, [], []) == {"$a": None, "$b": "no", "$c": None}
    network.says([])
    assert await peers.send_transaction(THERE, "1", 1, [], []) == {}


@given(st.binary(max_size=200))
def test_any_answer_is_read_or_refused(body: bytes) -> None:
    with contextlib.suppress(BadJson):
        read_answer(body)
