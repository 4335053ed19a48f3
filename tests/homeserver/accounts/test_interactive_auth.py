"""Stages in order, one session for one request, and nothing in the database to guess a password from."""

from __future__ import annotations

from typing import Any

import pytest
import trio

from tests.homeserver.accounts.conftest import ALICE, PASSWORD, SetClock
from tricord.clients.api.interactive_auth import AuthData
from tricord.homeserver.accounts.interactive_auth import (
    Authenticated,
    AuthenticationRequired,
    InteractiveAuth,
    Request,
)
from tricord.homeserver.accounts.login import PasswordLogin
from tricord.homeserver.accounts.registration import Registration
from tricord.homeserver.accounts.settings import RegistrationSettings, TermsDocument
from tricord.homeserver.accounts.stages import (
    DUMMY,
    REGISTRATION_TOKEN,
    SAME_USER,
    TERMS,
    Attempt,
    Flow,
    Stages,
    registration_flows,
    terms_params,
)
from tricord.homeserver.accounts.stages import (
    PASSWORD as PASSWORD_STAGE,
)
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.registration_tokens import insert_registration_token
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import UserId

TERMS_OF_SERVICE = TermsDocument(id="tos", version="1", name="Terms", url="https://hs.test/terms")
TWO_STAGES: tuple[Flow, ...] = ((DUMMY, TERMS),)


@pytest.fixture
def auth(
    database: Database, password_login: PasswordLogin, registration: Registration, clock: SetClock
) -> InteractiveAuth:
    params = {TERMS: terms_params([TERMS_OF_SERVICE])}
    return InteractiveAuth(database, Stages(password_login, registration), clock, params)


def request(auth: dict[str, Any] | None, body: object = None, user_id: UserId = ALICE) -> Request:
    data = None if auth is None else AuthData.model_validate(auth)
    return Request({"endpoint": "DeleteDevice", "body": body}, data, user_id, "192.0.2.1")


async def challenge(auth: InteractiveAuth, asked: Request, flows: tuple[Flow, ...] = SAME_USER) -> dict[str, Any]:
    with pytest.raises(AuthenticationRequired) as required:
        await auth.require(asked, flows)
    assert required.value.status == 401
    return required.value.body()


def password(session: str | None, text: str = PASSWORD) -> dict[str, Any]:
    identifier = {"type": "m.id.user", "user": "alice"}
    return {"type": PASSWORD_STAGE, "identifier": identifier, "password": text, "session": session}


async def test_a_request_without_auth_gets_the_flows(auth: InteractiveAuth) -> None:
    body = await challenge(auth, request(None))
    assert body["flows"] == [{"stages": ["m.login.password"]}]
    assert body["params"] == {}
    assert body["session"]
    assert "errcode" not in body


async def test_the_right_password_lets_the_request_through_once(auth: InteractiveAuth, alice: UserId) -> None:
    session = (await challenge(auth, request(None)))["session"]
    assert await auth.require(request(password(session)), SAME_USER) == Authenticated(None)
    assert (await challenge(auth, request({"session": session})))["session"] != session


async def test_a_client_that_knows_the_flow_may_begin_with_it(auth: InteractiveAuth, alice: UserId) -> None:
    assert await auth.require(request(password(None)), SAME_USER)


async def test_the_older_form_of_the_identifier_is_understood(auth: InteractiveAuth, alice: UserId) -> None:
    old = {"type": PASSWORD_STAGE, "user": "@alice:hs.test", "password": PASSWORD}
    assert await auth.require(request(old), SAME_USER)


async def test_a_wrong_password_may_be_tried_again(auth: InteractiveAuth, alice: UserId) -> None:
    session = (await challenge(auth, request(None)))["session"]
    body = await challenge(auth, request(password(session, "wrong")))
    assert (body["errcode"], body["session"]) == ("M_FORBIDDEN", session)
    assert body["flows"]
    assert await auth.require(request(password(session)), SAME_USER)


async def test_the_password_of_somebody_else_is_not_enough(auth: InteractiveAuth, registration: Registration) -> None:
    bob = UserId("@bob:hs.test")
    await registration.create(ALICE, PASSWORD)
    await registration.create(bob, "bobs")
    session = (await challenge(auth, request(None, user_id=bob)))["session"]
    body = await challenge(auth, request(password(session), user_id=bob))
    assert body["errcode"] == "M_FORBIDDEN"


@pytest.mark.parametrize(
    "other",
    [
        Request({"endpoint": "DeleteDevice", "body": {"devices": ["B"]}}, None, ALICE, ""),
        Request({"endpoint": "Deactivate", "body": {"devices": ["A"]}}, None, ALICE, ""),
        Request({"endpoint": "DeleteDevice", "body": {"devices": ["A"]}}, None, UserId("@bob:hs.test"), ""),
    ],
)
async def test_a_session_is_good_for_no_other_request(auth: InteractiveAuth, other: Request, alice: UserId) -> None:
    session = (await challenge(auth, request(None, {"devices": ["A"]})))["session"]
    carried = Request(other.bound, AuthData.model_validate(password(session)), other.user_id, "192.0.2.1")
    with pytest.raises(Forbidden):
        await auth.require(carried, SAME_USER)


async def test_stages_are_completed_in_their_order(auth: InteractiveAuth) -> None:
    session = (await challenge(auth, request(None), TWO_STAGES))["session"]
    too_early = await challenge(auth, request({"type": TERMS, "session": session}), TWO_STAGES)
    assert too_early["errcode"] == "M_FORBIDDEN"
    half = await challenge(auth, request({"type": DUMMY, "session": session}), TWO_STAGES)
    assert half["completed"] == [DUMMY]
    assert half["params"][TERMS]["policies"]["tos"]["en"]["url"] == "https://hs.test/terms"
    again = await challenge(auth, request({"type": DUMMY, "session": session}), TWO_STAGES)
    assert again["completed"] == [DUMMY]
    assert await auth.require(request({"type": TERMS, "session": session}), TWO_STAGES)


async def test_a_stage_may_be_completed_in_the_browser(auth: InteractiveAuth) -> None:
    session = (await challenge(auth, request(None), TWO_STAGES))["session"]
    for stage in (DUMMY, TERMS):
        await auth.complete_elsewhere(session, TWO_STAGES, Attempt(stage, AuthData(), None, "192.0.2.1"))
    assert await auth.require(request({"session": session}), TWO_STAGES)


async def test_an_unfinished_session_expires(auth: InteractiveAuth, clock: SetClock) -> None:
    session = (await challenge(auth, request(None), TWO_STAGES))["session"]
    clock.advance(3600)
    body = await challenge(auth, request({"type": DUMMY, "session": session}), TWO_STAGES)
    assert body["session"] != session
    assert "completed" not in body


async def test_of_parallel_requests_with_one_session_one_gets_through(auth: InteractiveAuth) -> None:
    session = (await challenge(auth, request(None), TWO_STAGES))["session"]
    await challenge(auth, request({"type": DUMMY, "session": session}), TWO_STAGES)
    through: list[Authenticated] = []

    async def attempt() -> None:
        try:
            through.append(await auth.require(request({"type": TERMS, "session": session}), TWO_STAGES))
        except AuthenticationRequired:
            return

    async with trio.open_nursery() as nursery:
        for _ in range(10):
            nursery.start_soon(attempt)
    assert len(through) == 1


async def test_neither_session_nor_body_is_in_the_database(auth: InteractiveAuth, database: Database) -> None:
    session = (await challenge(auth, request(None, {"new_password": "hunter2"})))["session"]
    async with database.transaction() as tx:
        row = await tx.fetchrow("SELECT interactive_sessions::text FROM interactive_sessions")
    assert row is not None
    assert session not in row[0]
    assert "hunter2" not in row[0]


async def test_a_registration_token_is_handed_on_to_be_used_up(
    auth: InteractiveAuth, database: Database, clock: SetClock
) -> None:
    flows = registration_flows(RegistrationSettings(token_required=True, terms=(TERMS_OF_SERVICE,)))
    assert flows == ((REGISTRATION_TOKEN, TERMS),)
    await database.run(insert_registration_token, "welcome", 1, None, clock.now_ms())
    session = (await challenge(auth, request(None), flows))["session"]
    wrong = {"type": REGISTRATION_TOKEN, "token": "guess", "session": session}
    assert (await challenge(auth, request(wrong), flows))["errcode"] == "M_FORBIDDEN"
    await challenge(auth, request({**wrong, "token": "welcome"}), flows)
    assert await auth.require(request({"type": TERMS, "session": session}), flows) == Authenticated("welcome")
