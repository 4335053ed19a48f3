"""Routes of accounts: registering, signing in and out, profiles, account data, filters."""

from __future__ import annotations

from tricord.clients.api import account, account_data, filters, login, profile, registration
from tricord.clients.api.capabilities import GetCapabilities
from tricord.clients.api.versions import GetVersions
from tricord.clients.testing.accounts import Accounts, Device
from tricord.clients.testing.call import Call, Route
from tricord.clients.testing.rooms import Rooms
from tricord.clients.testing.world import World
from tricord.protocol.errors import Forbidden, MissingParam, NotFound, Unauthorized, Unknown
from tricord.protocol.event_filters import Filter
from tricord.protocol.identifiers import RoomId
from tricord.protocol.room_versions import ROOM_VERSIONS
from tricord.protocol.strict_json import JsonObject

_SHOWN_IN_ROOMS = frozenset({"displayname", "avatar_url"})


class StageRequired(Unauthorized):
    """The request is to be made again, with a stage of user-interactive authentication completed."""

    def body(self) -> JsonObject:
        """Return the flows: one, of nothing but saying that one is real.

        https://spec.matrix.org/v1.19/client-server-api/#user-interactive-api-in-the-rest-api
        """
        return {"flows": [{"stages": ["m.login.dummy"]}], "params": {}, "completed": [], "session": "registration"}


class AccountRoutes:
    """What belongs to one user."""

    def __init__(self, world: World, accounts: Accounts, rooms: Rooms) -> None:
        self._world = world
        self._accounts = accounts
        self._rooms = rooms

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [
            (GetVersions, lambda _: {"versions": ["v1.18", "v1.19"], "unstable_features": {}}),
            (GetCapabilities, lambda _: {"capabilities": {"m.room_versions": _room_versions()}}),
            (login.GetLoginFlows, lambda _: {"flows": [{"type": "m.login.password"}]}),
            (login.Login, self.login),
            (login.Refresh, self.refresh),
            (login.Logout, self.logout),
            (login.LogoutAll, self.logout_all),
            (registration.Register, self.register),
            (registration.CheckUsername, self.check_username),
            (account.WhoAmI, self.whoami),
            (profile.GetProfile, lambda call: self._accounts.user(call.path["user_id"]).profile),
            (profile.GetProfileField, self.profile_field),
            (profile.SetProfileField, self.set_profile),
            (profile.DeleteProfileField, self.delete_profile),
            (account_data.GetAccountData, self.account_data),
            (account_data.SetAccountData, self.set_account_data),
            (account_data.GetRoomAccountData, self.account_data),
            (account_data.SetRoomAccountData, self.set_account_data),
            (filters.CreateFilter, self.create_filter),
            (filters.GetFilter, self.get_filter),
        ]

    def login(self, call: Call) -> JsonObject:
        """Sign somebody in."""
        body: login.Login.Body = call.body
        if body.type != "m.login.password":
            raise Unknown("the homeserver for tests lets in by password alone")
        name = body.user if body.identifier is None else body.identifier.user
        if name is None or body.password is None:
            raise MissingParam("a user and a password are needed")
        user = self._accounts.sign_in(name, body.password)
        return self._session(self._accounts.begin(user, body.device_id, refreshable=body.refresh_token))

    def refresh(self, call: Call) -> JsonObject:
        """Give new tokens."""
        device = self._accounts.refresh(call.body.refresh_token)
        return {"access_token": device.access_token, "refresh_token": device.refresh_token}

    def logout(self, call: Call) -> JsonObject:
        """Sign a device out."""
        self._accounts.end(call.device)
        return {}

    def logout_all(self, call: Call) -> JsonObject:
        """Sign all devices of a user out."""
        self._accounts.end_all(call.user_id)
        return {}

    def register(self, call: Call) -> JsonObject:
        """Make an account, once the client has said that it is no accident."""
        body: registration.Register.Body = call.body
        if body.username is not None:
            self._accounts.check_available(body.username)
        if body.auth is None or body.auth.type != "m.login.dummy":
            raise StageRequired("a stage is to be completed")
        if body.username is None or body.password is None:
            raise MissingParam("`username` and `password` are needed")
        user = self._accounts.register(body.username, body.password)
        if body.inhibit_login:
            return {"user_id": user.user_id, "home_server": self._world.server_name}
        return self._session(self._accounts.begin(user, body.device_id, refreshable=body.refresh_token))

    def check_username(self, call: Call) -> JsonObject:
        """Say whether a name is free."""
        self._accounts.check_available(call.query.username)
        return {"available": True}

    def whoami(self, call: Call) -> JsonObject:
        """Say whose access token it is."""
        return {"user_id": call.user_id, "device_id": call.device.device_id, "is_guest": False}

    def profile_field(self, call: Call) -> JsonObject:
        """Read one field."""
        found, field = self._accounts.user(call.path["user_id"]).profile, call.path["field"]
        if field not in found:
            raise NotFound(f"{call.path['user_id']} has no {field}")
        return {field: found[field]}

    def set_profile(self, call: Call) -> JsonObject:
        """Write one field."""
        _check_own(call)
        field = call.path["field"]
        if field not in call.body:
            raise MissingParam(f"`{field}` is missing")
        call.user.profile[field] = call.body[field]
        return self._profile_changed(call, field)

    def delete_profile(self, call: Call) -> JsonObject:
        """Delete one field."""
        _check_own(call)
        call.user.profile.pop(call.path["field"], None)
        return self._profile_changed(call, call.path["field"])

    def account_data(self, call: Call) -> JsonObject:
        """Read a piece of account data."""
        _check_own(call)
        found = call.user.account_data.get(_data_key(call))
        if found is None:
            raise NotFound("there is no such account data")
        return found[0]

    def set_account_data(self, call: Call) -> JsonObject:
        """Write a piece of account data."""
        _check_own(call)
        call.user.account_data[_data_key(call)] = call.body, self._world.take_position()
        return {}

    def create_filter(self, call: Call) -> JsonObject:
        """Keep a filter."""
        _check_own(call)
        Filter.parse(call.body)
        call.user.filters.append(call.body)
        return {"filter_id": str(len(call.user.filters) - 1)}

    def get_filter(self, call: Call) -> JsonObject:
        """Read a filter."""
        _check_own(call)
        number = call.path["filter_id"]
        if not number.isdecimal() or int(number) >= len(call.user.filters):
            raise NotFound("there is no such filter")
        return call.user.filters[int(number)]

    def _session(self, device: Device) -> JsonObject:
        session: JsonObject = {
            "user_id": device.user.user_id,
            "home_server": self._world.server_name,
            "device_id": device.device_id,
            "access_token": device.access_token,
        }
        return session if device.refresh_token is None else {**session, "refresh_token": device.refresh_token}

    def _profile_changed(self, call: Call, field: str) -> JsonObject:
        if field in _SHOWN_IN_ROOMS:
            self._rooms.tell_profile(call.user)
        return {}


def _room_versions() -> JsonObject:
    return {"default": "12", "available": dict.fromkeys(ROOM_VERSIONS, "stable")}


def _check_own(call: Call) -> None:
    if call.path["user_id"] != call.user_id:
        raise Forbidden("this is another user's")


def _data_key(call: Call) -> tuple[RoomId | None, str]:
    room_id = call.path.get("room_id")
    return None if room_id is None else RoomId(room_id), call.path["type"]
