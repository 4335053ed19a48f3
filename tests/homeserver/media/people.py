"""Somebody who has registered, as an HTTP client."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import httpx

from tests.servers import AUTHORITIES, PASSWORD


@asynccontextmanager
async def uploader(url: str, name: str) -> AsyncIterator[httpx.AsyncClient]:
    """Register somebody, and give the client that sends their token along."""
    async with httpx.AsyncClient(verify=AUTHORITIES, base_url=url, timeout=60) as http:
        body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        answer = await http.post("/_matrix/client/v3/register", json=body)
        http.headers["Authorization"] = f"Bearer {answer.json()['access_token']}"
        yield http
