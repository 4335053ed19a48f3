"""The table of the Client-Server API says what the code does: no more, and no less."""

from __future__ import annotations

import pytest

from tests.homeserver.answers import ANSWERS, key_of
from tests.spec.endpoints_in_code import Operation, calls_of_the_sdk, operation, other_names, routes
from tricord.clients.api.websocket import PATH as WEBSOCKET
from tricord.homeserver.specification import EndpointRow, EndpointTable, endpoint_tables

PREFIXES = ("/_matrix/client/", "/_matrix/media/", "/.well-known/matrix/", "/_synapse/", "/_tricord/")
# For servers, and listed there.
FOR_SERVERS = ("GET", "/.well-known/matrix/server")
# No request with an answer, so that no route says it.
SOCKETS = {("GET", WEBSOCKET)}


@pytest.fixture(scope="module")
def table() -> EndpointTable:
    """The table."""
    [found] = [table for table in endpoint_tables() if table.api == "Client-Server API"]
    return found


def everything(table: EndpointTable) -> list[EndpointRow]:
    return [row for row in (*table.rows, *table.extensions) if operation(row.method, row.path) not in SOCKETS]


def described(row: EndpointRow) -> Operation:
    """Return an endpoint as the code has it: the text has two rows for some of ours."""
    named = operation(row.method, row.path)
    return other_names().get(named, named)


def test_each_endpoint_is_named_once_and_all_that_are_specified_are(table: EndpointTable) -> None:
    named = [operation(row.method, row.path) for row in (*table.rows, *table.extensions)]
    assert len(named) == len(set(named))
    lacking = ANSWERS.keys() - {key_of(row.method, row.path) for row in table.rows}
    assert lacking == set()


def test_what_the_table_says_is_served_is_served_there_and_nothing_else(table: EndpointTable) -> None:
    served = {described(row): row.served for row in everything(table) if row.served}
    in_code = {one: modules for one, modules in routes().items() if one[1].startswith(PREFIXES) and one != FOR_SERVERS}
    lines = [
        f"{method} {path}: served by {', '.join(sorted(modules))}"
        for (method, path), modules in in_code.items()
        if served.get((method, path)) not in modules
    ]
    assert not lines, "\n".join(["spec/client_server.toml lacks, or says otherwise:", *lines])
    assert served.keys() - in_code.keys() == set()


def test_what_the_table_says_is_called_is_called_there_and_nothing_else(table: EndpointTable) -> None:
    called = {described(row): row.called for row in everything(table) if row.called}
    in_code = {one: modules for one, modules in calls_of_the_sdk().items() if one != FOR_SERVERS}
    lines = [
        f"{method} {path}: called by {', '.join(sorted(modules))}"
        for (method, path), modules in in_code.items()
        if called.get((method, path)) not in modules
    ]
    assert not lines, "\n".join(["spec/client_server.toml lacks, or says otherwise:", *lines])
    assert called.keys() - in_code.keys() == set()


def test_a_side_is_there_or_missing_and_never_both(table: EndpointTable) -> None:
    for row in (*table.rows, *table.extensions):
        assert not (row.served and row.not_served), row
        assert not (row.called and row.not_called), row
        assert bool(row.since) == bool(row.served or row.called), row
