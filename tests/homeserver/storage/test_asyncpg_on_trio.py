"""The private parts of asyncpg that are used are there, and are what they were when they were tried.

When one of these fails with a new asyncpg: read its changes to connection.py and protocol.pyx, run the tests of this
folder against it, then widen `TESTED_ASYNCPG` and the requirement together.
"""

from __future__ import annotations

import inspect
import re
import tomllib
from importlib.metadata import version
from pathlib import Path

import asyncpg
from asyncpg import compat, connect_utils
from asyncpg.connection import Connection
from asyncpg.protocol.protocol import BaseProtocol, Protocol

from tricord.homeserver.storage.asyncpg_on_trio import TESTED_ASYNCPG, DrivenConnection, DrivenProtocol

SOURCES = Path(asyncpg.__file__).parent


def test_the_requirement_allows_the_tried_versions_only() -> None:
    project = tomllib.loads((Path(__file__).parents[3] / "pyproject.toml").read_text())["project"]
    (requirement,) = [text for text in project["optional-dependencies"]["server"] if text.startswith("asyncpg")]
    major, minor, _ = TESTED_ASYNCPG.split(".")
    assert requirement == f"asyncpg>={major}.{minor},<{major}.{int(minor) + 1}"
    assert version("asyncpg").startswith(TESTED_ASYNCPG)


def test_connection_arguments_are_parsed_by_the_function_we_call() -> None:
    assert set(inspect.signature(connect_utils._parse_connect_arguments).parameters) == {
        "dsn", "host", "port", "user", "password", "passfile", "database", "command_timeout", "statement_cache_size",
        "max_cached_statement_lifetime", "max_cacheable_statement_size", "ssl", "direct_tls", "server_settings",
        "target_session_attrs", "krbsrvname", "gsslib", "service", "servicefile",
    }  # fmt: skip
    assert {"ssl", "sslmode", "target_session_attrs"} <= set(connect_utils._ConnectionParameters._fields)
    assert set(connect_utils.target_attrs_check) == set(connect_utils.SessionAttribute)


def test_what_we_override_is_there() -> None:
    assert list(inspect.signature(Connection._cancel_current_command).parameters) == ["self", "waiter", "cancel_waiter"]
    assert list(inspect.signature(Connection.__init__).parameters)[1:] == [
        "protocol", "transport", "loop", "addr", "config", "params",
    ]  # fmt: skip
    for name in ("_wait_for_cancellation", "_is_cancelling"):
        assert name in vars(BaseProtocol)
        assert name in vars(DrivenProtocol)
    assert "_addr" in Connection.__slots__
    assert issubclass(DrivenConnection, Connection)


def test_what_we_call_is_there() -> None:
    for name in ("connection_made", "connection_lost", "data_received", "set_connection", "is_in_transaction", "abort"):
        assert callable(getattr(Protocol, name))
    for name in ("backend_pid", "backend_secret"):
        assert inspect.isdatadescriptor(getattr(Protocol, name))


def test_nothing_new_of_asyncio_is_used_where_we_run() -> None:
    protocol = (SOURCES / "protocol" / "protocol.pyx").read_text()
    assert set(re.findall(r"\basyncio\.(\w+)", protocol)) == {
        "CancelledError", "Event", "Future", "Protocol", "TimeoutError", "shield", "sleep",
    }  # fmt: skip
    assert len(re.findall(r"await asyncio\.sleep\(0\)", protocol)) == len(re.findall(r"asyncio\.sleep", protocol)) == 1
    # These are in `_clean_tasks` and `_cancel`, for tasks that we never start.
    connection = "\n".join(
        line for line in (SOURCES / "connection.py").read_text().splitlines() if "asyncio.run(" not in line
    )
    assert set(re.findall(r"\basyncio\.(\w+)", connection)) == {
        "CancelledError", "current_task", "get_event_loop", "shield",
    }  # fmt: skip


def test_waiting_with_a_time_limit_is_replaced() -> None:
    assert compat.wait_for.__module__ == compat.timeout.__module__ == "tricord.homeserver.storage.asyncpg_on_trio"
    assert "compat.wait_for(" in (SOURCES / "protocol" / "protocol.pyx").read_text()
