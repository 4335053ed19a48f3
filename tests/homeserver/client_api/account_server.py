"""A server of nothing but accounts, asked as HTTP would ask it, without the bytes in between."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
from pydantic import SecretStr

from tests.homeserver.accounts.conftest import SetClock
from tricord.homeserver.accounts.account_data import AccountData
from tricord.homeserver.accounts.administration import Administration
from tricord.homeserver.accounts.deactivation import Deactivation
from tricord.homeserver.accounts.devices import Devices
from tricord.homeserver.accounts.endpoint_limits import EndpointLimits
from tricord.homeserver.accounts.filters import Filters
from tricord.homeserver.accounts.guests import Guests
from tricord.homeserver.accounts.interactive_auth import InteractiveAuth
from tricord.homeserver.accounts.login import LoginTokens, PasswordLogin
from tricord.homeserver.accounts.password_change import PasswordChange
from tricord.homeserver.accounts.passwords import HashCost, Passwords
from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.accounts.rate_limits import LoginLimits, RateLimitSettings, RegistrationLimits
from tricord.homeserver.accounts.registration import Registration, SharedSecret
from tricord.homeserver.accounts.requesters import Requesters
from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.accounts.sessions import Sessions
from tricord.homeserver.accounts.settings import LoginSettings, RegistrationSettings, TermsDocument
from tricord.homeserver.accounts.sightings import Sightings
from tricord.homeserver.accounts.stages import TERMS, Stages, terms_params
from tricord.homeserver.client_api.account import AccountApi
from tricord.homeserver.client_api.account_data import AccountDataApi
from tricord.homeserver.client_api.devices import DevicesApi
from tricord.homeserver.client_api.fallback_page import FallbackPageApi
from tricord.homeserver.client_api.filters import FiltersApi
from tricord.homeserver.client_api.login import LoginApi
from tricord.homeserver.client_api.login_page import LoginPageApi
from tricord.homeserver.client_api.profile import ProfileApi
from tricord.homeserver.client_api.registration import RegistrationApi
from tricord.homeserver.client_api.server_info import ServerInfoApi, client_well_known
from tricord.homeserver.client_api.synapse_admin import SynapseAdminApi
from tricord.homeserver.rooms.memberships import Membership, Memberships
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.serving.request import RawRequest
from tricord.homeserver.serving.response import Response
from tricord.homeserver.settings import WellKnownSettings
from tricord.homeserver.storage.database import Database
from tricord.homeserver.stream.publisher import Publisher
from tricord.protocol.identifiers import EventId, RoomId, ServerName, UserId
from tricord.protocol.strict_json import JsonObject

HERE = ServerName("hs.test")
ROOM = RoomId("!room:hs.test")
PASSWORD = "correct horse"
TERMS_OF_SERVICE = TermsDocument(id="tos", version="1", name="<Terms>", url="https://hs.test/terms?a=1&b=2")


class OneRoom(Memberships):
    """Everybody was once in one room, and in no other."""

    def __init__(self) -> None:
        """Know no more than that."""

    async def membership(self, user_id: UserId, room_id: RoomId) -> Membership | None:
        if room_id != ROOM:
            return None
        return Membership(room_id, user_id, "leave", EventId("$e"), user_id, position=1, since=1, forgotten=False)


@dataclass
class Reply:
    """An answer."""

    status: int
    json: Any
    body: bytes
    headers: Mapping[str, str]


@dataclass
class Server:
    """The server, as a client sees it."""

    dispatcher: Dispatcher
    administration: Administration

    async def ask(
        self,
        method: str,
        path: str,
        body: JsonObject | bytes | None = None,
        *,
        token: str | None = None,
        address: str = "192.0.2.1",
    ) -> Reply:
        raw_path, _, query = path.encode().partition(b"?")
        headers = [] if token is None else [(b"authorization", f"Bearer {token}".encode())]
        data = body if isinstance(body, bytes) else b"" if body is None else orjson.dumps(body)
        request = RawRequest(method, raw_path, query, headers, address, _once(data))
        found = await self.dispatcher.find(request)
        response = found if isinstance(found, Response) else await self.dispatcher.respond(request, *found)
        assert isinstance(response.body, bytes)
        names = {name.decode(): value.decode() for name, value in response.headers}
        is_json = names["content-type"] == "application/json"
        return Reply(response.status, orjson.loads(response.body) if is_json else None, response.body, names)

    async def sign_up(self, name: str, **login: Any) -> Reply:
        """Make an account and sign in."""
        await self.administration.create_user(name, PASSWORD)
        return await self.log_in(name, **login)

    async def log_in(self, name: str, password: str = PASSWORD, *, address: str = "192.0.2.1", **login: Any) -> Reply:
        identifier = {"type": "m.id.user", "user": name}
        body = {"type": "m.login.password", "identifier": identifier, "password": password, **login}
        return await self.ask("POST", "/_matrix/client/v3/login", body, address=address)


async def _once(data: bytes) -> AsyncIterator[bytes]:
    yield data


@pytest.fixture
def registration_settings() -> RegistrationSettings:
    """May be replaced by a test module."""
    return RegistrationSettings(enabled=True, shared_secret=SecretStr("shared"))


@pytest.fixture
def server_clock() -> SetClock:
    return SetClock()


@pytest.fixture
def server(database: Database, server_clock: SetClock, registration_settings: RegistrationSettings) -> Server:
    clock, limits, login = server_clock, RateLimitSettings(), LoginSettings()
    login_limits, registration_limits = LoginLimits(limits), RegistrationLimits(limits)
    passwords = Passwords(cost=HashCost(time=1, memory_kib=8, parallelism=1))
    revocations = Revocations(database)
    sessions = Sessions(database, revocations, clock, login)
    registration = Registration(HERE, database, passwords, clock)
    password_login = PasswordLogin(HERE, database, passwords, login_limits)
    password_change = PasswordChange(database, passwords, sessions)
    deactivation = Deactivation(database, revocations, rooms_to_tell=lambda: None)
    profiles = Profiles(HERE, database, rooms_to_tell=lambda: None)
    terms = {TERMS: terms_params(registration_settings.terms)}
    auth = InteractiveAuth(database, Stages(password_login, registration), clock, terms)
    login_tokens = LoginTokens(database, clock)

    async def push_rules(_user_id: UserId) -> JsonObject:
        return {"global": {}}

    account_data = AccountData(database, Publisher(database, 0), OneRoom(), push_rules)
    well_known = WellKnownSettings(client_base_url="https://matrix.hs.test", support_email="help@hs.test")
    found_at = client_well_known(HERE, well_known)
    requesters = Requesters(database, revocations, Sightings(database, clock), clock)
    guests = Guests(HERE, database, registration, requesters, revocations)
    apis = (
        ServerInfoApi(HERE, "12", well_known, login),
        LoginApi(login, password_login, login_tokens, login_limits, sessions, auth, found_at),
        RegistrationApi(registration_settings, registration, auth, sessions, registration_limits, guests),
        FallbackPageApi(registration_settings, auth, registration_limits),
        LoginPageApi(),
        AccountApi(auth, password_change, deactivation),
        DevicesApi(Devices(database), sessions, auth),
        ProfileApi(profiles),
        AccountDataApi(account_data),
        FiltersApi(Filters(database)),
        SynapseAdminApi(SharedSecret(registration_settings, clock), registration, sessions, profiles),
    )
    routes = [route for api in apis for route in api.routes()]
    administration = Administration(HERE, database, registration, password_change, deactivation, revocations, clock)
    return Server(Dispatcher(routes, requesters, EndpointLimits(limits)), administration)
