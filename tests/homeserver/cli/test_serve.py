"""`tricord serve`, with its own PostgreSQL, and the verbs about accounts beside it."""

from __future__ import annotations

import re
import signal
import tomllib
from pathlib import Path

import httpx
import pytest

from tests.homeserver.cli.commands import in_process, serving, started, tricord, written

PASSWORD = "correct horse battery staple"
FREE_PORT = {"TRICORD__LISTENERS": '[{ bind = "127.0.0.1:0" }]'}


def signed_in(url: str, name: str, password: str = PASSWORD) -> httpx.Response:
    """Try to sign in."""
    body = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": name}, "password": password}
    return httpx.post(f"{url}/_matrix/client/v3/login", json=body)


@pytest.mark.slow
def test_without_arguments_it_serves_this_machine_and_says_how_to_go_on(tmp_path: Path) -> None:
    with serving(tmp_path, env=FREE_PORT) as server:
        server.wait_for(" init --server-name")
        assert re.search(
            r"Tricord serves localhost at http://127\.0\.0\.1:\d+, data in tricord-data\.\n"
            r"Add the first user from another terminal, in this folder:\n"
            r"  \S*python -m tricord\.homeserver user add NAME --admin\n"
            r"This server is for this machine only\. For a real domain, stop it and start anew:\n"
            r"  \S*python -m tricord\.homeserver init --server-name example\.org --data-dir /var/lib/tricord\n",
            server.said,
        )
        data_dir = tmp_path / "tricord-data"
        assert data_dir.stat().st_mode & 0o777 == 0o700
        assert (data_dir / "signing.key").stat().st_mode & 0o777 == 0o600
        assert httpx.get(f"{server.url}/_matrix/client/versions").json()["versions"]
        front = httpx.get(server.url)
        assert "localhost</h1>" in front.text
        assert front.headers["content-type"] == "text/html; charset=utf-8"
        assert "frame-ancestors 'none'" in front.headers["content-security-policy"]

        added = tricord(tmp_path, "user", "add", "alice", "--admin", "--password-stdin", text=f"{PASSWORD}\n").good()
        assert added == "@alice:localhost can sign in now, as an administrator.\n"
        session = signed_in(server.url, "alice").json()
        token = session["access_token"]
        # Clients would go there, and not find us.
        assert "well_known" not in session
        assert httpx.get(f"{server.url}/.well-known/matrix/client").status_code == 404
        again = tricord(tmp_path, "user", "add", "alice", "--password-stdin", text="x\n").fault()
        assert again == "@alice:localhost is taken"
        assert tricord(tmp_path, "user", "list").good() == "@alice:localhost (administrator)\n"

        tricord(tmp_path, "user", "password", "alice", "--password-stdin", text="another one\n").good()
        bearer = {"Authorization": f"Bearer {token}"}
        assert httpx.get(f"{server.url}/_matrix/client/v3/account/whoami", headers=bearer).status_code == 401
        assert signed_in(server.url, "alice").status_code == 403
        assert signed_in(server.url, "alice", "another one").status_code == 200
        assert "another process" in tricord(tmp_path, "serve", env=FREE_PORT).fault()
        assert server.stop(signal.SIGINT) == 0

    tricord(tmp_path, "user", "add", "@bob:localhost", "--password-stdin", text=f"{PASSWORD}\n").good()
    with serving(tmp_path, env=FREE_PORT) as server:
        assert signed_in(server.url, "bob").status_code == 200
        assert "Add the first user" not in server.said
        assert tricord(tmp_path, "user", "lock", "bob").good() == "bob is locked.\n"
        assert tricord(tmp_path, "user", "suspend", "bob").good() == "bob is suspended.\n"
        assert signed_in(server.url, "bob").status_code == 401
        assert tricord(tmp_path, "user", "list").good().splitlines()[1] == "@bob:localhost (locked, suspended)"
        assert tricord(tmp_path, "user", "lock", "bob", "--undo").good() == "bob is no longer locked.\n"
        tricord(tmp_path, "user", "suspend", "bob", "--undo").good()
        tricord(tmp_path, "user", "deactivate", "bob", "--yes").good()
        assert signed_in(server.url, "bob").status_code == 403
        assert tricord(tmp_path, "user", "list").good().splitlines()[1] == "@bob:localhost (deactivated)"
        elsewhere = tricord(tmp_path, "user", "list", "--server-name", "example.org").fault()
        assert "the database is that of localhost" in elsewhere
        there = {"TRICORD__LISTENERS": f'[{{ bind = "{server.url.removeprefix("http://")}" }}]'}
        healthy = tricord(tmp_path, "doctor", env=there).good()
        assert "PostgreSQL 18" in healthy
        assert "the server runs and answers" in healthy
    assert "that of localhost" in tricord(tmp_path, "serve", "--server-name", "example.org", env=FREE_PORT).fault()


def test_a_server_on_a_real_domain_goes_from_init_to_its_first_user(tmp_path: Path, database_url: str) -> None:
    said = tricord(tmp_path, "init", "--server-name", "example.org", "--data-dir", "data").good()
    assert "serve --config tricord.toml" in said
    assert "user add NAME --admin --config tricord.toml" in said
    assert "doctor --config tricord.toml" in said
    assert "forward https://example.org/_matrix" in said
    assert "tricord.toml exists" in tricord(tmp_path, "init", "--server-name", "example.org").fault()
    env = FREE_PORT | {"TRICORD__DATABASE__URL": database_url}
    assert (
        "example.org, database the one at database.url, data in "
        in tricord(tmp_path, "config", "check", env=env).good()
    )
    with serving(tmp_path, "--config", "tricord.toml", env=env) as server:
        assert f"data in {tmp_path}/data" in server.said.replace(" in data.", f" in {tmp_path}/data.")
        server.wait_for("user add NAME --admin --config tricord.toml")
        tricord(tmp_path, "user", "add", "alice", "--password-stdin", text=f"{PASSWORD}\n", env=env).good()
        session = signed_in(server.url, "alice").json()
        assert session["user_id"] == "@alice:example.org"
        assert "well_known" not in session
        found = httpx.get(f"{server.url}/.well-known/matrix/client").json()
        assert found["m.homeserver"] == {"base_url": "https://example.org"}
        there = httpx.get(f"{server.url}/.well-known/matrix/server").json()
        assert there == {"m.server": "example.org:443"}


@pytest.mark.parametrize(
    ("name", "serves", "server"),
    [
        ("localhost", ["client"], None),
        ("example.org", ["client", "federation"], "example.org:443"),
        ("example.org:8448", ["client", "federation"], None),
        ("192.0.2.7", ["client", "federation"], None),
    ],
)
def test_init_writes_what_a_server_of_that_name_needs(
    tmp_path: Path, name: str, serves: list[str], server: str | None
) -> None:
    file = tmp_path / "tricord.toml"
    in_process("init", "--server-name", name, "--config", file, "--data-dir", tmp_path / "data").good()
    written = tomllib.loads(file.read_text())
    (listener,) = written["listeners"]
    assert listener["serves"] == serves
    assert listener.get("trusted_proxies") == (["127.0.0.0/8"] if "federation" in serves else None)
    assert written["well_known"].get("server") == server
    assert "The settings are right" in in_process("config", "check", "--config", file).good()


def test_tokens_let_people_register(tmp_path: Path, database_url: str) -> None:
    env = FREE_PORT | {"TRICORD__DATABASE__URL": database_url, "TRICORD__REGISTRATION__ENABLED": "true"}
    needless = tricord(tmp_path, "token", "create", env=env)
    assert "Registration does not ask for tokens" in needless.errors
    env["TRICORD__REGISTRATION__TOKEN_REQUIRED"] = "true"
    token = tricord(tmp_path, "token", "create", "--uses", "1", "--days", "1", env=env).good().strip()
    assert tricord(tmp_path, "token", "create", "welcome", env=env).good() == "welcome\n"
    assert "already" in tricord(tmp_path, "token", "create", "welcome", env=env).fault()
    assert "1 to 64 characters" in tricord(tmp_path, "token", "create", "not a token", env=env).fault()
    with serving(tmp_path, env=env) as server:
        valid = f"{server.url}/_matrix/client/v1/register/m.login.registration_token/validity"
        for each, is_valid in ((token, True), ("welcome", True), ("unheard", False)):
            assert httpx.get(valid, params={"token": each}).json() == {"valid": is_valid}


def test_a_signing_key_is_replaced_at_the_next_start(tmp_path: Path, database_url: str) -> None:
    env = FREE_PORT | {"TRICORD__DATABASE__URL": database_url}
    env["TRICORD__LISTENERS"] = '[{ bind = "127.0.0.1:0", serves = ["client", "federation"] }]'
    assert "there is no signing key in tricord-data" in tricord(tmp_path, "key", "rotate", env=env).fault()
    with serving(tmp_path, env=env) as server:
        (first,) = httpx.get(f"{server.url}/_matrix/key/v2/server").json()["verify_keys"]
        assert tricord(tmp_path, "key", "list", env=env).good() == f"{first} in use\n"
        said = tricord(tmp_path, "key", "rotate", env=env).good()
        assert f" takes the place of {first} when the server is started again." in said
        assert tricord(tmp_path, "key", "rotate", env=env).good() == said
        assert list(httpx.get(f"{server.url}/_matrix/key/v2/server").json()["verify_keys"]) == [first]
        before = httpx.get(f"{server.url}/_matrix/key/v2/server").json()["verify_keys"][first]
    for _ in range(2):
        with serving(tmp_path, env=env) as server:
            keys = httpx.get(f"{server.url}/_matrix/key/v2/server").json()
            (second,) = keys["verify_keys"]
            assert second == said.split()[0]
            assert keys["old_verify_keys"][first]["key"] == before["key"]
            assert keys["old_verify_keys"][first]["expired_ts"] < keys["valid_until_ts"]
    assert tricord(tmp_path, "key", "list", env=env).good().splitlines()[0] == f"{second} in use"
    assert tricord(tmp_path, "key", "list", env=env).good().splitlines()[1].startswith(f"{first} until 2")


def test_accounts_are_refused_with_a_sentence(tmp_path: Path, database_url: str) -> None:
    env = {"TRICORD__DATABASE__URL": database_url, "TRICORD__REGISTRATION__MINIMUM_PASSWORD_LENGTH": "8"}
    new = ("--password-stdin",)
    assert "user" in tricord(tmp_path, "user", "add", "Not A Name", *new, text="longenough\n", env=env).fault()
    assert "8" in tricord(tmp_path, "user", "add", "alice", *new, text="short\n", env=env).fault()
    assert "no terminal" in tricord(tmp_path, "user", "add", "alice", text="longenough\n", env=env).fault()
    elsewhere = "@alice:example.org"
    assert "user name" in tricord(tmp_path, "user", "add", elsewhere, *new, text="longenough\n", env=env).fault()
    assert tricord(tmp_path, "user", "password", "nobody", *new, text="longenough\n", env=env).fault() == (
        "there is no user nobody"
    )
    assert tricord(tmp_path, "user", "deactivate", "nobody", "--yes", env=env).fault() == "there is no user nobody"
    assert tricord(tmp_path, "user", "list", env=env).good() == ""


def test_nothing_is_asked_about_users_who_are_not_there(tmp_path: Path, database_url: str) -> None:
    env = {"TRICORD__DATABASE__URL": database_url}
    for verb in ("password", "deactivate"):
        outcome = tricord(tmp_path, "user", verb, "nobody", env=env, at_a_terminal=True)
        assert (outcome.fault(), outcome.output) == ("there is no user nobody", "")
    tricord(tmp_path, "user", "add", "alice", "--password-stdin", text=f"{PASSWORD}\n", env=env).good()
    outcome = tricord(tmp_path, "user", "add", "alice", env=env, at_a_terminal=True)
    assert (outcome.fault(), outcome.output) == ("@alice:localhost is taken", "")
    outcome = tricord(tmp_path, "user", "deactivate", "alice", text="n\n", env=env)
    assert outcome.output == "End the account of @alice:localhost for good? [y/N]: "
    assert outcome.errors == "Aborted!\n"


def test_no_database_is_made_where_there_is_no_server(tmp_path: Path) -> None:
    fault = tricord(tmp_path, "user", "add", "alice", "--password-stdin", text="x\n").fault()
    assert fault.startswith("there is no server in tricord-data")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_users_can_be_added_while_the_server_starts(tmp_path: Path) -> None:
    with started(tmp_path, env=FREE_PORT) as server:
        server.wait_for("making the database")
        tricord(tmp_path, "user", "add", "alice", "--password-stdin", text=f"{PASSWORD}\n").good()
        server.wait_for(", data in ")
        assert signed_in(server.url, "alice").status_code == 200


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_well_even_while_it_starts(tmp_path: Path, number: int) -> None:
    with started(tmp_path, env=FREE_PORT) as server:
        server.wait_for("making the database")
        assert server.stop(number) == 0
    with serving(tmp_path, env=FREE_PORT):
        pass


def test_the_environment_wins_over_the_file_and_flags_over_both(tmp_path: Path, database_url: str) -> None:
    file = written(tmp_path, f'server_name = "file.test"\n[database]\nurl = "{database_url}"\n[log]\nformat = "json"\n')
    env = FREE_PORT | {"TRICORD__SERVER_NAME": "environment.test", "TRICORD__DATA_DIR": "environment"}
    said = tricord(tmp_path, "config", "check", "--config", file, "--data-dir", "flag", env=env).good()
    assert "right: environment.test," in said
    assert "data in flag." in said
    with serving(tmp_path, "--config", file, "--server-name", "flag.test", "--data-dir", "flag", env=env) as server:
        assert "serves flag.test at " in server.said
