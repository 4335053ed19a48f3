"""Backups of keys.

https://spec.matrix.org/v1.19/client-server-api/#server-side-key-backups
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model


class BackupVersion(Model):
    """Which backup it is about."""

    version: str


class BackupState(Model):
    """How many keys a backup has, and what changes whenever they do."""

    count: int
    etag: str


class BackupInfo(BackupState):
    """What is to be known of a backup; the server does not look into `auth_data`."""

    version: str
    algorithm: str
    auth_data: dict[str, Any]


class RoomKeys(Model):
    """Keys by session; the server looks at what tells which of two is better."""

    sessions: dict[str, dict[str, Any]] = Field(default_factory=dict)


class CreateBackup(Endpoint):
    """Begin a new backup.

    https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3room_keysversion
    """

    method = "POST"
    path = "/_matrix/client/v3/room_keys/version"
    hot = True

    class Body(Model):
        """How keys are encrypted."""

        algorithm: str
        auth_data: dict[str, Any]

    Response = BackupVersion


class GetNewestBackup(Endpoint):
    """Read what is to be known of the newest backup.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversion
    """

    method = "GET"
    path = "/_matrix/client/v3/room_keys/version"
    hot = True
    body_kind = "none"
    Response = BackupInfo


class GetBackup(Endpoint):
    """Read what is to be known of a backup.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keysversionversion
    """

    method = "GET"
    path = "/_matrix/client/v3/room_keys/version/{version}"
    hot = True
    body_kind = "none"
    Response = BackupInfo


class UpdateBackup(Endpoint):
    """Change the `auth_data` of a backup.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keysversionversion
    """

    method = "PUT"
    path = "/_matrix/client/v3/room_keys/version/{version}"
    hot = True

    class Body(Model):
        """The new `auth_data`; algorithm and version are as they are."""

        algorithm: str
        auth_data: dict[str, Any]
        version: str | None = None


class DeleteBackup(Endpoint):
    """Delete a backup with its keys.

    https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keysversionversion
    """

    method = "DELETE"
    path = "/_matrix/client/v3/room_keys/version/{version}"
    hot = True


class PutBackedUpKeys(Endpoint):
    """Store keys in the newest backup.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeys
    """

    method = "PUT"
    path = "/_matrix/client/v3/room_keys/keys"
    hot = True
    # Clients store hundreds at once.
    max_body = 16 << 20
    Query = BackupVersion

    class Body(Model):
        """Keys by room."""

        rooms: dict[str, RoomKeys]

    Response = BackupState


class GetBackedUpKeys(Endpoint):
    """Read all keys in a backup.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeys
    """

    method = "GET"
    path = "/_matrix/client/v3/room_keys/keys"
    hot = True
    body_kind = "none"
    Query = BackupVersion

    class Response(Model):
        """Keys by room."""

        rooms: dict[str, RoomKeys]


class DeleteBackedUpKeys(Endpoint):
    """Delete all keys from a backup.

    https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeys
    """

    method = "DELETE"
    path = "/_matrix/client/v3/room_keys/keys"
    hot = True
    Query = BackupVersion
    Response = BackupState


class PutRoomBackedUpKeys(Endpoint):
    """Store keys of a room in the newest backup.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeysroomid
    """

    method = "PUT"
    path = "/_matrix/client/v3/room_keys/keys/{room_id}"
    hot = True
    # Clients store hundreds at once.
    max_body = 16 << 20
    Query = BackupVersion
    Body = RoomKeys
    Response = BackupState


class GetRoomBackedUpKeys(Endpoint):
    """Read the keys of a room in a backup.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeysroomid
    """

    method = "GET"
    path = "/_matrix/client/v3/room_keys/keys/{room_id}"
    hot = True
    body_kind = "none"
    Query = BackupVersion
    Response = RoomKeys


class DeleteRoomBackedUpKeys(Endpoint):
    """Delete the keys of a room from a backup.

    https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeysroomid
    """

    method = "DELETE"
    path = "/_matrix/client/v3/room_keys/keys/{room_id}"
    hot = True
    Query = BackupVersion
    Response = BackupState


class PutSessionBackedUpKey(Endpoint):
    """Store the key of a session in the newest backup.

    https://spec.matrix.org/v1.19/client-server-api/#put_matrixclientv3room_keyskeysroomidsessionid
    """

    method = "PUT"
    path = "/_matrix/client/v3/room_keys/keys/{room_id}/{session_id}"
    hot = True
    Query = BackupVersion
    Response = BackupState


class GetSessionBackedUpKey(Endpoint):
    """Read the key of a session in a backup.

    https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3room_keyskeysroomidsessionid
    """

    method = "GET"
    path = "/_matrix/client/v3/room_keys/keys/{room_id}/{session_id}"
    hot = True
    body_kind = "none"
    Query = BackupVersion


class DeleteSessionBackedUpKey(Endpoint):
    """Delete the key of a session from a backup.

    https://spec.matrix.org/v1.19/client-server-api/#delete_matrixclientv3room_keyskeysroomidsessionid
    """

    method = "DELETE"
    path = "/_matrix/client/v3/room_keys/keys/{room_id}/{session_id}"
    hot = True
    Query = BackupVersion
    Response = BackupState
