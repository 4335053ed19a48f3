"""The table of the Server-Server API says what the code does: no more, and no less."""

from __future__ import annotations

import pytest

from tests.homeserver.cli.commands import in_process
from tests.spec.endpoints_in_code import FEDERATION, HOMESERVER, endpoints_of_methods, operation, routes, uses
from tricord.federation.media import RemoteFiles
from tricord.federation.peers import Peers
from tricord.homeserver.specification import EndpointTable, endpoint_tables

# What goes by these names is `Peers`, or the part of it that somebody needs.
HOLDERS = {"_peers", "peers", "_source", "_carrier"}
# And by this, `RemoteFiles`.
HOLDERS_OF_FILES = {"_files"}
WELL_KNOWN = ("GET", "/.well-known/matrix/server")
# What the text does not have, and others ask for.
BESIDE = {("POST", "/_matrix/federation/v1/3pid/onbind")}
PREFIXES = ("/_matrix/federation/", "/_matrix/key/", "/_matrix/policy/")


@pytest.fixture(scope="module")
def table() -> EndpointTable:
    """The table."""
    [found] = [table for table in endpoint_tables() if table.api == "Server-Server API"]
    return found


def test_each_endpoint_is_named_once(table: EndpointTable) -> None:
    named = [operation(row.method, row.path) for row in table.rows]
    assert len(named) == len(set(named)) == 36


def test_what_the_table_says_is_served_is_served_there_and_nothing_else(table: EndpointTable) -> None:
    served = {operation(row.method, row.path): row.served for row in table.rows if row.served}
    in_code = {one: modules for one, modules in routes().items() if one[1].startswith(PREFIXES) or one == WELL_KNOWN}
    assert {one: {module} for one, module in served.items()} == {one: in_code[one] for one in in_code.keys() - BESIDE}


def test_what_the_table_says_is_called_is_called_there_and_nothing_else(table: EndpointTable) -> None:
    called = {operation(row.method, row.path): row.called for row in table.rows if row.called}
    in_code = uses(endpoints_of_methods(Peers), HOLDERS, HOMESERVER, FEDERATION)
    files = uses(endpoints_of_methods(RemoteFiles), HOLDERS_OF_FILES, HOMESERVER)
    in_code |= {one: modules for one, modules in files.items() if one[1].startswith(PREFIXES)}
    in_code[WELL_KNOWN] = {"federation.well_known"}
    assert called.keys() == in_code.keys()
    assert {one: module for one, module in called.items() if module not in in_code[one]} == {}


def test_a_side_is_there_or_missing_and_never_both(table: EndpointTable) -> None:
    for row in table.rows:
        assert not (row.served and row.not_served), row
        assert not (row.called and row.not_called), row
        assert bool(row.since) == bool(row.served or row.called), row


def test_the_command_prints_the_table(table: EndpointTable) -> None:
    printed = in_process("spec", "coverage").good()
    for row in table.rows:
        assert f"{row.method:<6} {row.path}\n" in printed
    missing = in_process("spec", "coverage", "--missing").good()
    for row in table.rows:
        assert (f"{row.method:<6} {row.path}\n" in missing) == bool(row.missing)
