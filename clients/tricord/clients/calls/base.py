"""What every group of calls stands on."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from typing import Any

from tricord.clients.endpoint import Endpoint
from tricord.clients.errors import Refused
from tricord.clients.http import Http
from tricord.protocol.identifiers import DeviceId, RoomId, UserId

# What each stage of user-interactive authentication takes; None: we have nothing for it.
Stages = Mapping[str, dict[str, Any] | None]


class Calls:
    """Methods that call one homeserver as one user."""

    http: Http
    # Known once signed in; empty before.
    user_id: UserId
    device_id: DeviceId

    def opened(self, room_id: RoomId, events: list[dict[str, Any]]) -> list[dict[str, Any]]:  # noqa: ARG002  # for those who do
        """Return events of a room as they are to be read. Whoever encrypts opens them here."""
        return events

    async def through_stages(
        self, endpoint: type[Endpoint], body: dict[str, Any], stages: Stages, *, path: Mapping[str, str] | None = None
    ) -> Any:
        """Call an endpoint, completing the stages of user-interactive authentication that we have something for.

        Raises the homeserver's refusal when it asks for other stages, or does not accept one.
        https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api
        """
        tried: set[str] = set()
        while True:
            try:
                return await self.http.call(endpoint, path, body=body)
            except Refused as refusal:
                stage = _next_stage(refusal.body, {name for name in stages if stages[name] is not None})
                # A stage that was tried and is not completed has failed: trying again would fail again.
                if refusal.status != 401 or stage is None or stage in tried:
                    raise
                tried.add(stage)
                body = {
                    **body,
                    "auth": {"type": stage, "session": refusal.body.get("session"), **(stages[stage] or {})},
                }

    def password_stage(self, password: str) -> Stages:
        """Return what the password stage takes."""
        identifier = {"type": "m.id.user", "user": self.user_id}
        return {"m.login.password": {"identifier": identifier, "password": password}}


def new_transaction_id() -> str:
    """Return an id that makes repeating a request harmless: the homeserver acts once per id and device."""
    return secrets.token_urlsafe(12)


def given(values: Mapping[str, Any]) -> dict[str, Any]:
    """Return what has been given: without what is None."""
    return {key: value for key, value in values.items() if value is not None}


def _next_stage(asked: Mapping[str, Any], known: set[str]) -> str | None:
    """Return the first stage to do of the first flow that we can complete."""
    completed, flows = asked.get("completed") or (), asked.get("flows")
    for flow in flows if isinstance(flows, list) else ():
        stages = flow.get("stages") if isinstance(flow, dict) else None
        missing = [stage for stage in stages or () if stage not in completed]
        if missing and known.issuperset(missing):
            return str(missing[0])
    return None
