"""User-interactive authentication: asking again, in stages, before something that matters.

https://spec.matrix.org/v1.19/client-server-api/#user-interactive-authentication-api

A session belongs to one request. The server keeps neither: of the session id a hash, of the request a MAC under the
session id. So a session cannot be carried over to another request, and the table holds no password in any form.
"""

from __future__ import annotations

import hashlib
import hmac
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from tricord.clients.api.interactive_auth import AuthData
from tricord.homeserver.accounts.stages import REGISTRATION_TOKEN, Attempt, Flow, Stages
from tricord.homeserver.clock import Clock
from tricord.homeserver.storage.database import Database
from tricord.homeserver.storage.interactive_sessions import (
    InteractiveSession,
    complete_stage,
    insert_interactive_session,
    interactive_session,
    take_interactive_session,
)
from tricord.protocol.errors import Forbidden, MatrixError
from tricord.protocol.identifiers import UserId

_LIFETIME_MS = 30 * 60_000


class AuthenticationRequired(MatrixError):
    """More stages are needed: 401, with the flows to choose from, and what was wrong with the last attempt, if any."""

    status = 401

    def __init__(self, challenge: Mapping[str, Any], refused: MatrixError | None = None) -> None:
        super().__init__("authentication required" if refused is None else refused.message)
        self._body = dict(challenge) if refused is None else {**challenge, **refused.body()}

    def body(self) -> dict[str, Any]:
        """Return the challenge."""
        return self._body


@dataclass(frozen=True, slots=True)
class Request:
    """What the authentication is for. `bound` is all that must stay the same from stage to stage."""

    bound: Mapping[str, Any]
    auth: AuthData | None
    user_id: UserId | None
    address: str


@dataclass(frozen=True, slots=True)
class Authenticated:
    """All stages of a flow have been completed. The registration token that was shown still has to be used up."""

    registration_token: str | None


class InteractiveAuth:
    """Leads a client through the stages of a flow."""

    def __init__(
        self, database: Database, stages: Stages, clock: Clock, params: Mapping[str, Mapping[str, Any]] | None = None
    ) -> None:
        self._database = database
        self._stages = stages
        self._clock = clock
        # What a client must know to attempt a stage.
        self._params = params or {}

    async def require(self, request: Request, flows: Sequence[Flow]) -> Authenticated:
        """Return once all stages of one of the flows have been completed; raise AuthenticationRequired until then.

        To return uses the session up: it has authenticated this one act.
        """
        auth = request.auth
        if auth is None:
            raise AuthenticationRequired(self._challenge(flows, await self._begin(request), ()))
        session_id, session = await self._session(request, auth)
        if session is None:
            # An expired session, or none: clients that know the flows bring the first stage at once.
            session_id = await self._begin(request)
            session = InteractiveSession(b"", (), None)
            if auth.session is not None:
                raise AuthenticationRequired(
                    self._challenge(flows, session_id, ()), Forbidden("the authentication session has expired")
                )
        completed, token = session.completed, session.registration_token
        if auth.type is not None and auth.type not in completed:
            await self._attempt(request, flows, auth, session_id, completed)
            completed = (*completed, auth.type)
            token = auth.token if auth.type == REGISTRATION_TOKEN else token
        if completed not in flows:
            raise AuthenticationRequired(self._challenge(flows, session_id, completed))
        if not await self._database.run(take_interactive_session, _hash(session_id), completed):
            raise AuthenticationRequired(self._challenge(flows, await self._begin(request), ()))
        return Authenticated(token)

    async def complete_elsewhere(self, session_id: str, flows: Sequence[Flow], attempt: Attempt) -> None:
        """Complete a stage outside of the request it is for, as a page in the browser does; raise if that fails."""
        session = await self._database.read(interactive_session, _hash(session_id), now_ts=self._clock.now_ms())
        if session is None:
            raise Forbidden("the authentication session is unknown or has expired")
        if attempt.stage in session.completed:
            return
        if not _is_next(attempt.stage, session.completed, flows):
            raise Forbidden(f"{attempt.stage} is not the next stage")
        await self._stages.check(attempt)
        token = attempt.auth.token if attempt.stage == REGISTRATION_TOKEN else None
        await self._database.run(complete_stage, _hash(session_id), attempt.stage, token)

    async def _attempt(
        self, request: Request, flows: Sequence[Flow], auth: AuthData, session_id: str, completed: Flow
    ) -> None:
        stage = auth.type or ""
        challenge = self._challenge(flows, session_id, completed)
        if not _is_next(stage, completed, flows):
            raise AuthenticationRequired(challenge, Forbidden("this is not the next stage of any flow"))
        try:
            await self._stages.check(Attempt(stage, auth, request.user_id, request.address))
        except Forbidden as refused:
            raise AuthenticationRequired(challenge, refused) from refused
        token = auth.token if stage == REGISTRATION_TOKEN else None
        await self._database.run(complete_stage, _hash(session_id), stage, token)

    async def _begin(self, request: Request) -> str:
        session_id, now = secrets.token_urlsafe(24), self._clock.now_ms()
        mac = _mac(session_id, request)
        await self._database.run(insert_interactive_session, _hash(session_id), mac, now + _LIFETIME_MS, now_ts=now)
        return session_id

    async def _session(self, request: Request, auth: AuthData) -> tuple[str, InteractiveSession | None]:
        if auth.session is None:
            return "", None
        session = await self._database.read(interactive_session, _hash(auth.session), now_ts=self._clock.now_ms())
        if session is not None and not hmac.compare_digest(session.request_mac, _mac(auth.session, request)):
            raise Forbidden("the request is not the one that this authentication session was begun for")
        return auth.session, session

    def _challenge(self, flows: Sequence[Flow], session_id: str, completed: Flow) -> dict[str, Any]:
        stages = {stage for flow in flows for stage in flow}
        return {
            "flows": [{"stages": list(flow)} for flow in flows],
            "params": {stage: params for stage, params in self._params.items() if stage in stages},
            "session": session_id,
            **({"completed": list(completed)} if completed else {}),
        }


def _is_next(stage: str, completed: Flow, flows: Sequence[Flow]) -> bool:
    upto = (*completed, stage)
    return any(flow[: len(upto)] == upto for flow in flows)


def _hash(session_id: str) -> bytes:
    return hashlib.sha256(session_id.encode()).digest()


def _mac(session_id: str, request: Request) -> bytes:
    message = orjson.dumps([request.user_id, request.bound], option=orjson.OPT_SORT_KEYS)
    return hmac.new(session_id.encode(), message, hashlib.sha256).digest()
