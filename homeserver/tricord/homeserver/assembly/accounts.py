"""Accounts: who is who, and who may come in."""

from __future__ import annotations

from collections.abc import Callable

from tricord.homeserver.accounts.administration import Administration
from tricord.homeserver.accounts.deactivation import Deactivation
from tricord.homeserver.accounts.devices import Devices
from tricord.homeserver.accounts.endpoint_limits import EndpointLimits
from tricord.homeserver.accounts.filters import Filters
from tricord.homeserver.accounts.guests import Guests
from tricord.homeserver.accounts.interactive_auth import InteractiveAuth
from tricord.homeserver.accounts.login import LoginTokens, PasswordLogin
from tricord.homeserver.accounts.openid import OpenIdTokens
from tricord.homeserver.accounts.password_change import PasswordChange
from tricord.homeserver.accounts.passwords import HashCost, Passwords
from tricord.homeserver.accounts.profiles import Profiles
from tricord.homeserver.accounts.rate_limits import LoginLimits, RegistrationLimits
from tricord.homeserver.accounts.registration import Registration, SharedSecret
from tricord.homeserver.accounts.requesters import Requesters
from tricord.homeserver.accounts.revocations import Revocations
from tricord.homeserver.accounts.room_updates import RoomUpdates
from tricord.homeserver.accounts.sessions import KeysChanged, Sessions
from tricord.homeserver.accounts.sightings import Sightings
from tricord.homeserver.accounts.stages import Stages, terms_params
from tricord.homeserver.assembly.foundation import Foundation, LetGo, Run
from tricord.homeserver.assembly.network import Network
from tricord.homeserver.client_api.account import AccountApi
from tricord.homeserver.client_api.administration import AdministrationApi
from tricord.homeserver.client_api.devices import DevicesApi
from tricord.homeserver.client_api.fallback_page import FallbackPageApi
from tricord.homeserver.client_api.filters import FiltersApi
from tricord.homeserver.client_api.login import LoginApi
from tricord.homeserver.client_api.login_page import LoginPageApi
from tricord.homeserver.client_api.openid import OpenIdApi
from tricord.homeserver.client_api.profile import ProfileApi
from tricord.homeserver.client_api.registration import RegistrationApi
from tricord.homeserver.client_api.server_info import client_well_known
from tricord.homeserver.client_api.synapse_admin import SynapseAdminApi
from tricord.homeserver.client_api.voip import VoipApi
from tricord.homeserver.clock import Clock
from tricord.homeserver.serving.call import Route
from tricord.homeserver.settings import Settings
from tricord.homeserver.storage.database import Database
from tricord.homeserver.stream.publisher import Publisher
from tricord.protocol.identifiers import ServerName


class AccountBook:
    """The accounts themselves: all of them that an operator needs where no server runs, as on the command line."""

    def __init__(
        self,
        settings: Settings,
        database: Database,
        clock: Clock,
        password_cost: HashCost | None,
        rooms_to_tell: Callable[[], None],
        keys_changed: KeysChanged,
        publisher: Publisher | None = None,
    ) -> None:
        server_name = ServerName(settings.server_name)
        self.revocations = Revocations(database, publisher)
        self.passwords = Passwords(
            concurrent=settings.login.concurrent_password_checks,
            minimum_length=settings.registration.minimum_password_length,
            cost=password_cost,
        )
        self.registration = Registration(server_name, database, self.passwords, clock)
        self.sessions = Sessions(database, self.revocations, clock, settings.login, keys_changed)
        self.password_change = PasswordChange(database, self.passwords, self.sessions)
        self.deactivation = Deactivation(
            database, self.revocations, rooms_to_tell=rooms_to_tell, keys_changed=keys_changed
        )
        self.administration = Administration(
            server_name,
            database,
            self.registration,
            self.password_change,
            self.deactivation,
            self.revocations,
            clock,
        )


class Accounts:
    """Who is signed in, how people come in, and what they show of themselves."""

    def __init__(
        self, base: Foundation, network: Network, password_cost: HashCost | None, keys_changed: KeysChanged
    ) -> None:
        settings, database, clock = base.settings, base.database, base.clock
        self.room_updates = RoomUpdates(database, clock)
        self.book = AccountBook(
            settings, database, clock, password_cost, self.room_updates.wake, keys_changed, base.publisher
        )
        self._sightings = Sightings(database, clock)
        self.requesters = Requesters(database, self.book.revocations, self._sightings, clock)
        buckets = None if base.common is None else base.common.memory.buckets
        self.limits = EndpointLimits(settings.rate_limits, buckets)
        self._login_limits = LoginLimits(settings.rate_limits, buckets)
        self._registration_limits = RegistrationLimits(settings.rate_limits, buckets)
        self._password_login = PasswordLogin(base.server_name, database, self.book.passwords, self._login_limits)
        self.auth = InteractiveAuth(
            database,
            Stages(self._password_login, self.book.registration),
            clock,
            {"m.login.terms": terms_params(settings.registration.terms)},
        )
        self.profiles = Profiles(base.server_name, database, network.profiles, rooms_to_tell=self.room_updates.wake)
        self.openid_tokens = OpenIdTokens(database, clock)
        self._base = base
        self._keys_changed = keys_changed

    @property
    def run(self) -> list[Run]:
        """Return the parts that live long."""
        return [self._sightings.run]

    @property
    def let_go(self) -> list[LetGo]:
        """Return how they forget."""
        return [self.requesters.let_go, self._sightings.let_go]

    def routes(self) -> list[Route]:
        """Return what clients are answered about accounts."""
        settings, database, clock, book = self._base.settings, self._base.database, self._base.clock, self.book
        apis = (
            LoginApi(
                settings.login,
                self._password_login,
                LoginTokens(database, clock),
                self._login_limits,
                book.sessions,
                self.auth,
                # Clients go where this says, so it is the operator who says it: not a guess by the server's name.
                client_well_known(self._base.server_name, settings.well_known, settings.rtc)
                if settings.well_known.client_base_url
                else None,
            ),
            RegistrationApi(
                settings.registration,
                book.registration,
                self.auth,
                book.sessions,
                self._registration_limits,
                Guests(self._base.server_name, database, book.registration, self.requesters, book.revocations),
            ),
            SynapseAdminApi(
                SharedSecret(settings.registration, clock), book.registration, book.sessions, self.profiles
            ),
            FallbackPageApi(settings.registration, self.auth, self._registration_limits),
            LoginPageApi(),
            AccountApi(self.auth, book.password_change, book.deactivation),
            AdministrationApi(book.administration, Devices(database)),
            VoipApi(settings.turn, clock),
            DevicesApi(Devices(database, self._keys_changed), book.sessions, self.auth),
            ProfileApi(self.profiles),
            FiltersApi(Filters(database)),
            OpenIdApi(self.openid_tokens, self._base.server_name),
        )
        return [route for api in apis for route in api.routes()]
