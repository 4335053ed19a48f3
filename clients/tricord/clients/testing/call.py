"""From a request to its answer, as on a real homeserver: endpoint found, sender authenticated, all of it checked."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, get_origin
from urllib.parse import unquote

import httpx
import orjson
import trio
from pydantic import BaseModel, ValidationError

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.clients.testing.accounts import Accounts, Device, User
from tricord.clients.testing.world import World
from tricord.protocol.errors import BadJson, InvalidParam, MatrixError, MethodNotAllowed, MissingParam, Unrecognized
from tricord.protocol.identifiers import UserId
from tricord.protocol.strict_json import JsonObject, parse_object


@dataclass(frozen=True, slots=True)
class Call:
    """One request, checked against the endpoint's description."""

    path: Mapping[str, str]
    query: Any
    body: Any
    device_or_none: Device | None

    @property
    def device(self) -> Device:
        """The session that asks."""
        assert self.device_or_none is not None, "the endpoint asks for no access token"  # noqa: S101
        return self.device_or_none

    @property
    def user(self) -> User:
        """Who asks."""
        return self.device.user

    @property
    def user_id(self) -> UserId:
        """Who asks."""
        return self.device.user.user_id


Answer = JsonObject | list[JsonObject] | BaseModel
Handler = Callable[[Call], Answer | Awaitable[Answer]]
Route = tuple[type[Endpoint], Handler]


class Transport(httpx.AsyncBaseTransport):
    """A network with one homeserver in it, which can be cut."""

    def __init__(self, routes: Sequence[Route], accounts: Accounts, world: World) -> None:
        self._routes = [(pattern, *route) for route in routes for pattern in _patterns(route[0])]
        self._accounts = accounts
        self._world = world
        self.is_cut = False

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Answer a request; Matrix errors become standard error responses."""
        # As on any network, others get their turn.
        await trio.lowlevel.checkpoint()
        if self.is_cut:
            raise httpx.ConnectError("the network is cut", request=request)
        self._world.ring()
        try:
            answer = await self._answer(request)
        except MatrixError as error:
            return _json(error.status, error.body())
        return _json(200, answer)

    async def _answer(self, request: httpx.Request) -> Any:
        raw_path = request.url.raw_path.partition(b"?")[0].decode()
        endpoint, handle, path = self._find(request.method, raw_path.replace("/client/r0/", "/client/v3/", 1))
        device = None
        if endpoint.authentication is not Authentication.NONE:
            token = request.headers.get("Authorization", "").removeprefix("Bearer ")
            if token or endpoint.authentication is not Authentication.OPTIONAL:
                device = self._accounts.authenticate(token)
        content = await request.aread()
        body = parse_object(content) if content and endpoint.body_kind == "json" and request.method != "GET" else {}
        call = Call(path, _query(endpoint.Query, request.url.params), _body(endpoint.Body, body), device)
        answer = handle(call)
        if isinstance(answer, Awaitable):
            answer = await answer
        return answer.model_dump(by_alias=True, exclude_none=True) if isinstance(answer, BaseModel) else answer

    def _find(self, method: str, path: str) -> tuple[type[Endpoint], Handler, dict[str, str]]:
        others = False
        for pattern, endpoint, handle in self._routes:
            found = pattern.fullmatch(path)
            if found is not None and endpoint.method == method:
                return endpoint, handle, {name: unquote(value) for name, value in found.groupdict().items()}
            others = others or found is not None
        if others:
            raise MethodNotAllowed(f"{method} is not a method of this endpoint")
        raise Unrecognized(f"the homeserver for tests does not know {path}")


def _patterns(endpoint: type[Endpoint]) -> list[re.Pattern[str]]:
    return [
        re.compile(re.sub(r"\\\{(\w+)\\\}", r"(?P<\1>[^/]*)", re.escape(path)))
        for path in (endpoint.path, *endpoint.also)
    ]


def _query(model: type[BaseModel] | None, given: httpx.QueryParams) -> BaseModel | None:
    if model is None:
        return None
    values: dict[str, Any] = {}
    for name, info in model.model_fields.items():
        found = given.get_list(info.alias or name)
        if found:
            values[info.alias or name] = found if get_origin(info.annotation) is list else found[-1]
    try:
        return model.model_validate(values)
    except ValidationError as error:
        raise _refusal(error, InvalidParam) from None


def _body(model: type[BaseModel] | None, body: JsonObject) -> Any:
    if model is None:
        return body
    try:
        return model.model_validate(body, strict=True)
    except ValidationError as error:
        raise _refusal(error, BadJson) from None


def _refusal(error: ValidationError, otherwise: type[MatrixError]) -> MatrixError:
    fault = error.errors(include_url=False, include_input=False, include_context=False)[0]
    name = ".".join(map(str, fault["loc"]))
    return MissingParam(f"`{name}` is missing") if fault["type"] == "missing" else otherwise(f"{name}: {fault['msg']}")


def _json(status: int, content: Any) -> httpx.Response:
    return httpx.Response(status, content=orjson.dumps(content), headers={"Content-Type": "application/json"})
