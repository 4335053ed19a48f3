"""Dehydrated devices: kept by the server, encrypted, to take in messages while their user is signed in nowhere.

https://github.com/matrix-org/matrix-spec-proposals/pull/3814
"""

from __future__ import annotations

from typing import Any

from pydantic import Field

from tricord.clients.endpoint import Endpoint, Model
from tricord.protocol.identifiers import DeviceId

_PATH = "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device"


class DehydratedDeviceId(Model):
    """Which device it is."""

    device_id: DeviceId


class PutDehydratedDevice(Endpoint):
    """Put a device in the place of the one that is there."""

    method = "PUT"
    path = _PATH

    class Body(Model):
        """The device, which only its user's clients can read, and its keys."""

        device_id: DeviceId
        device_data: dict[str, Any]
        initial_device_display_name: str | None = None
        device_keys: dict[str, Any]
        one_time_keys: dict[str, Any] = Field(default_factory=dict)
        fallback_keys: dict[str, Any] = Field(default_factory=dict)

    Response = DehydratedDeviceId


class GetDehydratedDevice(Endpoint):
    """Read the device."""

    method = "GET"
    path = _PATH
    body_kind = "none"

    class Response(DehydratedDeviceId):
        """What was put there."""

        device_data: dict[str, Any]


class DeleteDehydratedDevice(Endpoint):
    """Delete the device, and the messages for it."""

    method = "DELETE"
    path = _PATH
    Response = DehydratedDeviceId


class DehydratedDeviceEvents(Model):
    """Messages for the device, and where to go on."""

    events: list[dict[str, Any]]
    next_batch: str | None = None


class GetDehydratedDeviceEvents(Endpoint):
    """Read messages for the device; without `next_batch` there are no more."""

    method = "GET"
    path = _PATH + "/{device_id}/events"
    body_kind = "none"

    class Query(Model):
        """Where to go on, and how many at most."""

        after: str | None = Field(None, alias="from")
        limit: int = Field(100, ge=1)

    Response = DehydratedDeviceEvents


class ReadDehydratedDeviceEvents(Endpoint):
    """The same as an earlier draft had it: there are no more when none come, and there always is a `next_batch`."""

    method = "POST"
    path = _PATH + "/{device_id}/events"

    class Body(Model):
        """Where to go on."""

        next_batch: str | None = None

    Response = DehydratedDeviceEvents
