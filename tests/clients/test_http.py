"""What a client does when the answer is not the one it hoped for, on a fake clock and a fake network."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import httpx
import pytest
import trio
from trio.testing import MockClock

from tricord.clients import Client, Refused, Session, SignedOut, UnexpectedAnswer, Unreachable
from tricord.clients.testing import Homeserver
from tricord.protocol.identifiers import DeviceId, RoomId, UserId

ROOM = RoomId("!r:localhost")
LIMITED = {"errcode": "M_LIMIT_EXCEEDED", "error": "too fast"}

Answer = httpx.Response | Exception


class Network(httpx.AsyncBaseTransport):
    """Gives prepared answers, one after another and the last one for ever; notes what was asked and when."""

    def __init__(self, *answers: Answer) -> None:
        self._answers = list(answers)
        self.requests: list[httpx.Request] = []
        self.times: list[float] = []

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        self.requests.append(request)
        self.times.append(trio.current_time())
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer.status_code, headers=answer.headers, content=answer.content)


def client_of(network: Network) -> Client:
    return Client("http://homeserver.test", access_token="secret", transport=network)


SENT = httpx.Response(200, json={"event_id": "$e"})
MADE = httpx.Response(200, json={"room_id": ROOM})
BROKEN = httpx.ReadError("reset by peer")


@pytest.mark.parametrize(
    ("refusal", "waits"),
    [
        (httpx.Response(429, json=LIMITED | {"retry_after_ms": 7000}), 7),
        (httpx.Response(429, json=LIMITED, headers={"Retry-After": "9"}), 9),
        (httpx.Response(429, json=LIMITED | {"retry_after_ms": 7000}, headers={"Retry-After": "8"}), 8),
        (httpx.Response(429, content=b"<html>slow down</html>", headers={"Retry-After": "3"}), 3),
    ],
)
async def test_a_rate_limit_is_waited_for_as_long_as_it_says(
    refusal: httpx.Response, waits: float, autojump_clock: MockClock
) -> None:
    network = Network(refusal, MADE)
    assert await client_of(network).create_room() == ROOM
    assert network.times[1] - network.times[0] == pytest.approx(waits)


async def test_a_rate_limit_that_does_not_say_when_to_come_again_is_waited_for_a_little(
    autojump_clock: MockClock,
) -> None:
    network = Network(httpx.Response(429, json=LIMITED), httpx.Response(429, json=LIMITED), MADE)
    await client_of(network).create_room()
    assert 0.2 < network.times[1] - network.times[0] < 1
    assert 0.4 < network.times[2] - network.times[1] < 2


async def test_a_rate_limit_beyond_our_patience_is_told_at_once(autojump_clock: MockClock) -> None:
    network = Network(httpx.Response(429, json=LIMITED | {"retry_after_ms": 3_600_000}))
    with pytest.raises(Refused) as refused:
        await client_of(network).create_room()
    assert (refused.value.errcode, refused.value.retry_after_seconds) == ("M_LIMIT_EXCEEDED", 3600)
    assert len(network.requests) == 1


@pytest.mark.parametrize(
    "failure",
    [
        httpx.Response(502),
        httpx.Response(503, json={"errcode": "M_UNKNOWN", "error": "no database"}),
        httpx.Response(504),
        BROKEN,
        httpx.ReadTimeout("slow"),
        httpx.ConnectError("refused"),
        httpx.RemoteProtocolError("gone"),
    ],
)
async def test_a_request_that_may_arrive_twice_is_repeated_and_is_the_same(
    failure: Answer, autojump_clock: MockClock
) -> None:
    network = Network(failure, failure, SENT)
    assert await client_of(network).send_text(ROOM, "Hello") == "$e"
    assert len(network.requests) == 3
    assert len({(request.url, request.content) for request in network.requests}) == 1


@pytest.mark.parametrize("failure", [BROKEN, httpx.Response(502), httpx.ReadTimeout("slow")])
async def test_a_request_that_may_have_happened_is_not_repeated(failure: Answer, autojump_clock: MockClock) -> None:
    network = Network(failure, MADE)
    with pytest.raises((Unreachable, Refused)):
        await client_of(network).create_room()
    assert len(network.requests) == 1


async def test_a_request_that_never_left_is_repeated_whatever_it_is(autojump_clock: MockClock) -> None:
    network = Network(httpx.ConnectError("refused"), httpx.ConnectTimeout("slow"), MADE)
    assert await client_of(network).create_room() == ROOM


async def test_our_patience_has_an_end(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    network = Network(BROKEN)
    with pytest.raises(Unreachable, match=r"PUT http://homeserver.test/.*ReadError"):
        await client_of(network).send_text(ROOM, "Hello")
    assert 20 < network.times[-1] - network.times[0] <= 60
    assert len(network.requests) > 5
    (told,) = caplog.messages
    assert "ReadError" in told
    assert "trying again" in told


async def test_what_time_will_not_heal_is_not_repeated(autojump_clock: MockClock) -> None:
    for failure in (httpx.UnsupportedProtocol("ftp"), httpx.LocalProtocolError("bad header")):
        network = Network(failure)
        with pytest.raises(Unreachable):
            await client_of(network).joined_rooms()
        assert len(network.requests) == 1


@pytest.mark.parametrize(
    ("answer", "error", "says"),
    [
        (httpx.Response(200, content=b"<html>"), UnexpectedAnswer, "not JSON"),
        (httpx.Response(302, headers={"Location": "http://elsewhere.test/"}), UnexpectedAnswer, "status 302"),
        (httpx.Response(200, json={"joined_rooms": 1}), UnexpectedAnswer, "joined_rooms"),
        (httpx.Response(200, content=b"x", headers={"Content-Encoding": "gzip"}), UnexpectedAnswer, "joined_rooms"),
        (httpx.Response(500, content=b"<html>"), Refused, r"M_UNKNOWN \(500\): Internal Server Error"),
        (httpx.Response(404, json=["not", "an", "object"]), Refused, r"M_UNKNOWN \(404\)"),
        (httpx.Response(403, json={"errcode": "M_FORBIDDEN", "error": "no"}), Refused, r"M_FORBIDDEN \(403\): no"),
        (httpx.Response(401, json={"errcode": "M_UNKNOWN_TOKEN", "error": "no"}), SignedOut, "M_UNKNOWN_TOKEN"),
        (httpx.Response(401, json={"errcode": "M_USER_LOCKED", "soft_logout": True}), Refused, "M_USER_LOCKED"),
    ],
)
async def test_each_answer_that_is_none_is_an_error_of_its_kind(
    answer: httpx.Response, error: type[Exception], says: str
) -> None:
    with pytest.raises(error, match=says) as raised:
        await client_of(Network(answer)).joined_rooms()
    assert type(raised.value) is error


async def test_the_token_goes_only_where_it_belongs() -> None:
    network = Network(httpx.Response(200, json={"flows": [], "joined_rooms": []}))
    client = client_of(network)
    await client.joined_rooms()
    await client.login_flows()
    assert [request.headers.get("Authorization") for request in network.requests] == ["Bearer secret", None]
    session = Session(UserId("@a:b"), DeviceId("D"), "secret", "secret too")
    assert "secret" not in repr(session)


class Kept(list[Session]):
    """Keeps the sessions that a client tells of."""

    async def __call__(self, session: Session) -> None:
        self.append(session)


async def refreshable(in_memory: Homeserver, kept: Callable[[Session], Any] | None = None) -> Client:
    session = (await in_memory.user("alice", refresh_token=True)).session
    return Client(in_memory.url, session=session, on_new_tokens=kept, transport=in_memory.transport)


async def test_an_expired_token_is_renewed_unnoticed_and_told_before_it_is_used(in_memory: Homeserver) -> None:
    kept = Kept()
    alice = await refreshable(in_memory, kept)
    before = alice.session
    assert before is not None
    in_memory.expire_tokens(alice.user_id)
    assert await alice.joined_rooms() == []
    assert kept == [alice.session]
    assert (kept[0].user_id, kept[0].device_id) == (before.user_id, before.device_id)
    assert kept[0].access_token != before.access_token
    assert kept[0].refresh_token != before.refresh_token


async def test_however_many_requests_find_the_token_expired_it_is_renewed_once(in_memory: Homeserver) -> None:
    kept = Kept()
    alice = await refreshable(in_memory, kept)
    in_memory.expire_tokens(alice.user_id)
    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(alice.joined_rooms)
    assert len(kept) == 1


async def test_a_token_that_cannot_be_renewed_signs_out(in_memory: Homeserver) -> None:
    alice = await refreshable(in_memory)
    in_memory.end_sessions(alice.user_id)
    with pytest.raises(SignedOut) as refused:
        await alice.joined_rooms()
    assert not refused.value.soft
    bob = await in_memory.user("bob")
    in_memory.expire_tokens(bob.user_id)
    with pytest.raises(SignedOut) as refused:
        await bob.joined_rooms()
    assert refused.value.soft


async def test_tokens_that_could_not_be_kept_are_not_used(in_memory: Homeserver) -> None:
    async def fail(session: Session) -> None:
        raise OSError("disk full")

    alice = await refreshable(in_memory, fail)
    before = alice.session
    in_memory.expire_tokens(alice.user_id)
    with pytest.raises(OSError, match="disk full"):
        await alice.joined_rooms()
    assert alice.session == before


async def test_a_renewed_token_that_is_refused_too_is_not_renewed_again(autojump_clock: MockClock) -> None:
    expired = httpx.Response(401, json={"errcode": "M_UNKNOWN_TOKEN", "error": "expired", "soft_logout": True})
    renewed = httpx.Response(200, json={"access_token": "new"})
    network = Network(expired, renewed, expired)
    session = Session(UserId("@a:b"), DeviceId("D"), "old", "refresh")
    client = Client("http://homeserver.test", session=session, transport=network)
    with pytest.raises(SignedOut):
        await client.joined_rooms()
    assert [request.url.path.rpartition("/")[2] for request in network.requests] == [
        "joined_rooms",
        "refresh",
        "joined_rooms",
    ]
    assert client.session == Session(UserId("@a:b"), DeviceId("D"), "new", "refresh")
