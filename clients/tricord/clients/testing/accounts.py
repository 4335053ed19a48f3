"""The users of the homeserver in memory: their sessions, profiles, account data and filters."""

from __future__ import annotations

import secrets
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field

from tricord.clients.testing.world import World
from tricord.protocol.errors import Forbidden, InvalidUsername, MissingToken, NotFound, UnknownToken, UserInUse
from tricord.protocol.identifiers import DeviceId, RoomId, UserId, is_valid_new_localpart
from tricord.protocol.strict_json import JsonObject


@dataclass(slots=True, eq=False)
class Backup:
    """A backup of keys."""

    version: str
    algorithm: str
    auth_data: JsonObject
    # By room and session.
    keys: dict[tuple[str, str], JsonObject] = field(default_factory=dict)
    changes: int = 0
    is_deleted: bool = False


@dataclass(slots=True, eq=False)
class User:
    """Somebody with an account."""

    user_id: UserId
    password: str = field(repr=False)
    profile: JsonObject = field(default_factory=dict)
    # By room (None: for all) and type: the content, and the position.
    account_data: dict[tuple[RoomId | None, str], tuple[JsonObject, int]] = field(default_factory=dict)
    filters: list[JsonObject] = field(default_factory=list)
    forgotten: set[RoomId] = field(default_factory=set)
    # When the keys of a device, or those that sign devices, changed for the last time.
    keys_changed_at: int = 0
    backups: list[Backup] = field(default_factory=list)
    # By usage: `master`, `self_signing`, `user_signing`.
    signing_keys: dict[str, JsonObject] = field(default_factory=dict)


@dataclass(slots=True, eq=False)
class DeviceKeys:
    """What a device has published for encryption, and what waits for it."""

    device_keys: JsonObject | None = None
    # By name, as `signed_curve25519:AAAA`.
    one_time_keys: JsonObject = field(default_factory=dict)
    # By algorithm: the name, and the key.
    fallback_keys: dict[str, tuple[str, JsonObject]] = field(default_factory=dict)
    used_fallback_keys: set[str] = field(default_factory=set)
    # Messages from device to device, each with its position.
    messages: list[tuple[int, JsonObject]] = field(default_factory=list)
    transactions: set[str] = field(default_factory=set)

    def counts(self) -> dict[str, int]:
        """Return how many one-time keys there are of each algorithm."""
        return dict(Counter(name.partition(":")[0] for name in self.one_time_keys))


@dataclass(slots=True, eq=False)
class Device:
    """A session of a user."""

    user: User
    device_id: DeviceId
    access_token: str = field(repr=False)
    refresh_token: str | None = field(repr=False)
    expired: bool = False
    keys: DeviceKeys = field(default_factory=DeviceKeys)


class Accounts:
    """Who is here."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._users: dict[UserId, User] = {}
        self._devices: dict[str, Device] = {}

    def register(self, username: str, password: str) -> User:
        """Make an account. Raises InvalidUsername or UserInUse."""
        user_id = self.check_available(username)
        user = self._users[user_id] = User(user_id, password)
        return user

    def check_available(self, username: str) -> UserId:
        """Return the user id that a name would give. Raises InvalidUsername or UserInUse."""
        if not is_valid_new_localpart(username.lower()):
            raise InvalidUsername("a user name consists of a-z, 0-9 and any of . _ = - / +")
        user_id = UserId(f"@{username.lower()}:{self._world.server_name}")
        if user_id in self._users:
            raise UserInUse(f"{user_id} is taken")
        return user_id

    def user(self, user_id: str) -> User:
        """Return a user. Raises NotFound."""
        user = self.known(user_id)
        if user is None:
            raise NotFound(f"there is no user {user_id}")
        return user

    def known(self, user_id: str) -> User | None:
        """Return a user, if there is one of that id."""
        return self._users.get(UserId(user_id))

    def sign_in(self, name: str, password: str) -> User:
        """Return whose name and password these are. Raises Forbidden."""
        full = name if name.startswith("@") else f"@{name}:{self._world.server_name}"
        user = self._users.get(UserId(full.lower()))
        if user is None or not secrets.compare_digest(user.password.encode(), password.encode()):
            raise Forbidden("the user name or the password is wrong")
        return user

    def begin(self, user: User, device_id: str | None, *, refreshable: bool) -> Device:
        """Begin a session; one of before on the same device ends."""
        wanted = DeviceId(device_id or secrets.token_hex(5).upper())
        before = self.device(user.user_id, wanted)
        if before is not None:
            del self._devices[before.access_token]
            self._world.take_position()
        device = Device(user, wanted, secrets.token_urlsafe(), secrets.token_urlsafe() if refreshable else None)
        if before is not None:
            # It is the same device: its keys, and what was sent to it, stay.
            device.keys = before.keys
        self._devices[device.access_token] = device
        return device

    def devices_of(self, user_id: str) -> list[Device]:
        """Return the devices of a user."""
        return [device for device in self._devices.values() if device.user.user_id == user_id]

    def device(self, user_id: str, device_id: str) -> Device | None:
        """Return a device, if there is one of that id."""
        return next((device for device in self.devices_of(user_id) if device.device_id == device_id), None)

    def refresh(self, refresh_token: str) -> Device:
        """Give a session new tokens. Raises UnknownToken."""
        for device in self._devices.values():
            if device.refresh_token == refresh_token:
                del self._devices[device.access_token]
                device.access_token, device.refresh_token = secrets.token_urlsafe(), secrets.token_urlsafe()
                device.expired = False
                self._devices[device.access_token] = device
                return device
        raise UnknownToken("unknown refresh token")

    def authenticate(self, token: str | None) -> Device:
        """Return the session of an access token. Raises MissingToken or UnknownToken."""
        if not token:
            raise MissingToken("this endpoint needs an access token")
        device = self._devices.get(token)
        if device is None:
            raise UnknownToken("unknown access token")
        if device.expired:
            raise UnknownToken("the access token has expired", soft_logout=True)
        return device

    def end(self, device: Device) -> None:
        """Sign a device out."""
        self._end(lambda one: one is device)

    def end_all(self, user_id: UserId) -> None:
        """Sign a user out everywhere."""
        self._end(lambda one: one.user.user_id == user_id)

    def expire(self, user_id: UserId) -> None:
        """Let the access tokens of a user expire."""
        for device in self._devices.values():
            if device.user.user_id == user_id:
                device.expired = True
        self._world.take_position()

    def _end(self, ends: Callable[[Device], bool]) -> None:
        for device in self._devices.values():
            if ends(device) and device.keys.device_keys is not None:
                device.user.keys_changed_at = self._world.take_position()
        self._devices = {token: device for token, device in self._devices.items() if not ends(device)}
        # Whoever waits in a sync finds out.
        self._world.take_position()
