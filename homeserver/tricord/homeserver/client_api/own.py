"""What can only be one's own: the user id in a path, and the device that calls."""

from __future__ import annotations

from typing import Any

from tricord.homeserver.serving.call import Call
from tricord.protocol.errors import Forbidden
from tricord.protocol.identifiers import DeviceId, UserId


def own_user_id(call: Call[Any, Any]) -> UserId:
    """Return the user id in the path; raise Forbidden if it is somebody else's."""
    user_id = call.requester.user_id
    if call.path["user_id"] != user_id:
        raise Forbidden("this is another user's")
    return user_id


def own_device_id(call: Call[Any, Any]) -> DeviceId:
    """Return the device that calls; raise Forbidden if none does, but a user as such."""
    device_id = call.requester.device_id
    if device_id is None:
        raise Forbidden("this is for a device, and the access token belongs to none")
    return device_id
