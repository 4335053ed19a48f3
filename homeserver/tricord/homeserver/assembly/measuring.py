"""Figures for Prometheus, where the settings ask for them: what is loaded for them, and where they are told."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from typing import TYPE_CHECKING

from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.call import Authenticator
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.serving.server import Listener, listening
from tricord.homeserver.settings import MetricsSettings

if TYPE_CHECKING:
    from tricord.homeserver.metrics import Metrics


def metrics_if_wanted(settings: MetricsSettings) -> Metrics | None:
    """Return what counts, or None where nobody wants to know."""
    if not settings.bind:
        return None
    from tricord.homeserver.metrics import Metrics

    return Metrics()


@contextlib.asynccontextmanager
async def telling(
    metrics: Metrics | None, settings: MetricsSettings, place: int, authenticator: Authenticator
) -> AsyncIterator[str]:
    """Tell the figures of the process in a place among several, while inside the block; gives the base URL."""
    if metrics is None:
        yield ""
        return
    application = Application(Dispatcher(metrics.routes(), authenticator))
    async with listening([Listener(address_of(settings.bind, place), application, {})], drain_seconds=0) as (url,):
        yield url


def address_of(bind: str, place: int) -> str:
    """Return where the process in a place tells its figures: each further one at the next port; 0 takes a free one."""
    host, _, port = bind.rpartition(":")
    return f"{host}:{int(port) + place if int(port) else 0}"
