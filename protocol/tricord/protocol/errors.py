"""Everything the library raises on purpose.

    Exception
    ├── MatrixError            a refusal that the other side is told about: errcode and HTTP status
    │   ├── BadJson, NotJson, InvalidParam, MissingParam, TooLarge, …
    │   └── Forbidden, NotFound, LimitExceeded, …
    ├── EventRejected          the authorization rules refuse an event
    ├── SignatureInvalid       a signature that must be there is missing or wrong
    └── ResolutionTooLarge     a state resolution went over its budget of steps

The errcodes are those of the Client-Server API, "Standard error response":
https://spec.matrix.org/v1.19/client-server-api/#standard-error-response
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


class MatrixError(Exception):
    """A refusal the other side is told about, as an errcode and an HTTP status.

    `extra` holds the further keys that some errors carry in their JSON body (`retry_after_ms`, `soft_logout`, …).
    """

    errcode: str = "M_UNKNOWN"
    status: int = 400

    def __init__(self, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.message = message
        self.extra = extra

    def body(self) -> dict[str, Any]:
        """Return the JSON body of the refusal."""
        return {"errcode": self.errcode, "error": self.message, **self.extra}


class Unknown(MatrixError):
    """What no other errcode names."""


class NotJson(MatrixError):
    """The body is not JSON at all."""

    errcode = "M_NOT_JSON"


class BadJson(MatrixError):
    """The body is JSON, but not of the shape or the range asked for."""

    errcode = "M_BAD_JSON"


class InvalidParam(MatrixError):
    """A parameter has a value that cannot be."""

    errcode = "M_INVALID_PARAM"


class MissingParam(MatrixError):
    """A required parameter is absent."""

    errcode = "M_MISSING_PARAM"


class InvalidSignature(MatrixError):
    """What a client uploads has to be signed, and is not, or not by whom it has to be."""

    errcode = "M_INVALID_SIGNATURE"


class WrongRoomKeysVersion(MatrixError):
    """Keys can only be stored in the newest backup; `current_version` says which that is."""

    errcode = "M_WRONG_ROOM_KEYS_VERSION"
    status = 403

    def __init__(self, message: str, *, current_version: str) -> None:
        super().__init__(message, current_version=current_version)


class TooLarge(MatrixError):
    """The request or the event is larger than allowed."""

    errcode = "M_TOO_LARGE"
    status = 413


class Forbidden(MatrixError):
    """The requester may not do this."""

    errcode = "M_FORBIDDEN"
    status = 403


class BadState(MatrixError):
    """What is to be changed is not as it would have to be: nobody can be unbanned who is not banned."""

    errcode = "M_BAD_STATE"
    status = 403


class ServerNotTrusted(MatrixError):
    """The request names an identity server that this server does not use."""

    errcode = "M_SERVER_NOT_TRUSTED"
    status = 403


class NotRecommended(MatrixError):
    """A policy server does not sign an event; what it says of that stands for itself, whatever errcode that is."""

    errcode = "M_FORBIDDEN"
    status = 400

    @classmethod
    def as_said(cls, status: int, errcode: str, message: str, extra: Mapping[str, Any]) -> NotRecommended:
        """Return the refusal of a policy server of another server, as that has put it."""
        refusal = cls(message)
        refusal.status, refusal.errcode, refusal.extra = status, errcode, dict(extra)
        return refusal


class MissingToken(MatrixError):
    """The endpoint needs an access token and none was given."""

    errcode = "M_MISSING_TOKEN"
    status = 401


class UnknownToken(MatrixError):
    """The access token is not (or no longer) valid; `soft_logout` says whether the device lives on."""

    errcode = "M_UNKNOWN_TOKEN"
    status = 401


class Unauthorized(MatrixError):
    """A server's request is not signed as it must be."""

    errcode = "M_UNAUTHORIZED"
    status = 401


class UserDeactivated(MatrixError):
    """The account has been deactivated."""

    errcode = "M_USER_DEACTIVATED"
    status = 403


class UserLocked(MatrixError):
    """The account is locked; its sessions live on, for when it is unlocked."""

    errcode = "M_USER_LOCKED"
    status = 401

    def __init__(self, message: str = "this account has been locked") -> None:
        super().__init__(message, soft_logout=True)


class NotFound(MatrixError):
    """There is no such thing, or the requester may not know of it."""

    errcode = "M_NOT_FOUND"
    status = 404


class Unrecognized(MatrixError):
    """No such endpoint."""

    errcode = "M_UNRECOGNIZED"
    status = 404


class MethodNotAllowed(Unrecognized):
    """The endpoint exists, with another method."""

    status = 405


class LimitExceeded(MatrixError):
    """Too many requests; `retry_after_ms` says when to come again."""

    errcode = "M_LIMIT_EXCEEDED"
    status = 429

    def __init__(self, message: str, *, retry_after_ms: int) -> None:
        super().__init__(message, retry_after_ms=retry_after_ms)


class UserInUse(MatrixError):
    """The user id is taken."""

    errcode = "M_USER_IN_USE"


class InvalidUsername(MatrixError):
    """The wanted localpart is not a valid one."""

    errcode = "M_INVALID_USERNAME"


class WeakPassword(MatrixError):
    """The password is too weak."""

    errcode = "M_WEAK_PASSWORD"


class KeyTooLarge(MatrixError):
    """The name of a profile field is too long."""

    errcode = "M_KEY_TOO_LARGE"


class ProfileTooLarge(MatrixError):
    """The profile would be larger than profiles may be."""

    errcode = "M_PROFILE_TOO_LARGE"


class GuestAccessForbidden(MatrixError):
    """Guests may not do this."""

    errcode = "M_GUEST_ACCESS_FORBIDDEN"
    status = 403


class RoomInUse(MatrixError):
    """The room alias is taken."""

    errcode = "M_ROOM_IN_USE"


class InvalidRoomState(MatrixError):
    """The wanted initial state of a room contradicts itself or the rules."""

    errcode = "M_INVALID_ROOM_STATE"


class UnsupportedRoomVersion(MatrixError):
    """The server does not know the wanted room version."""

    errcode = "M_UNSUPPORTED_ROOM_VERSION"


class IncompatibleRoomVersion(MatrixError):
    """The room has a version that the asking server does not support; `room_version` names it."""

    errcode = "M_INCOMPATIBLE_ROOM_VERSION"


class AliasTaken(MatrixError):
    """The room alias already stands for a room; `RoomInUse` is the same refusal to create a room with it."""

    status = 409


class DuplicateAnnotation(MatrixError):
    """The user has annotated the event in the same way before."""

    errcode = "M_DUPLICATE_ANNOTATION"


class UserSuspended(MatrixError):
    """The account is suspended: it may read, and go, and do little else."""

    errcode = "M_USER_SUSPENDED"
    status = 403


class CannotLeaveServerNoticeRoom(MatrixError):
    """The user cannot decline to be told what those who run the server have to say."""

    errcode = "M_CANNOT_LEAVE_SERVER_NOTICE_ROOM"
    status = 403


class InviteBlocked(MatrixError):
    """The user accepts no invitations."""

    errcode = "M_INVITE_BLOCKED"
    status = 403


class BadAlias(MatrixError):
    """A room alias does not point to the room."""

    errcode = "M_BAD_ALIAS"


class NotYetUploaded(MatrixError):
    """The media has been announced, and has not been uploaded."""

    errcode = "M_NOT_YET_UPLOADED"
    status = 504


class CannotOverwriteMedia(MatrixError):
    """The media has been uploaded already."""

    errcode = "M_CANNOT_OVERWRITE_MEDIA"
    status = 409


class RemoteMediaTooLarge(MatrixError):
    """The media of another server is larger than what is passed on from there."""

    errcode = "M_TOO_LARGE"
    status = 502


class Unreachable(MatrixError):
    """The other server that this needs cannot be reached, or does not answer as it must."""

    status = 502


class Unavailable(MatrixError):
    """Something that this needs does not work now; it is worth trying again."""

    status = 503


class UnableToAuthoriseJoin(MatrixError):
    """The server cannot check the conditions of a restricted join."""

    errcode = "M_UNABLE_TO_AUTHORISE_JOIN"


class UnableToGrantJoin(MatrixError):
    """No local user may invite, so that another server must grant the restricted join."""

    errcode = "M_UNABLE_TO_GRANT_JOIN"


class EventRejected(Exception):
    """The authorization rules refuse an event. It is stored, and never shown."""


class SignatureInvalid(Exception):
    """A signature or hash that must be there is missing or wrong."""


class ResolutionTooLarge(Exception):
    """A state resolution went over its budget of steps."""
