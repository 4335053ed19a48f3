"""`tricord doctor` against a world that is well or not: another machine's clock, well-known files, certificates."""

from __future__ import annotations

import datetime as dt
from email.utils import format_datetime
from pathlib import Path

import httpx
import pytest
import trio
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from tests.homeserver.cli.commands import in_process, written
from tests.homeserver.media.cloud import s3
from tricord.homeserver.storage.database import open_database
from tricord.homeserver.storage.partial_rooms import note_fetched

FREE_PORT = '[[listeners]]\nbind = "127.0.0.1:0"\n'
CLIENT = {"m.homeserver": {"base_url": "https://matrix.example.org"}}


def well_known(monkeypatch: pytest.MonkeyPatch, *, client: object, seconds_behind: float = 0) -> None:
    """Let example.org answer with a document, by a clock of its own."""

    def get(url: str, **_: object) -> httpx.Response:
        date = format_datetime(dt.datetime.now(dt.UTC) - dt.timedelta(seconds=seconds_behind), usegmt=True)
        if url == "https://example.org/.well-known/matrix/client":
            return httpx.Response(200, json=client, headers={"Date": date})
        return httpx.Response(404, headers={"Date": date})

    monkeypatch.setattr(httpx, "get", get)


def certificate(folder: Path, *, days: int) -> None:
    """Make a certificate for example.org that lasts for some days."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "example.org")])
    now = dt.datetime.now(dt.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - dt.timedelta(days=1))
        .not_valid_after(now + dt.timedelta(days=days, hours=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("example.org")]), critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(made.public_bytes(serialization.Encoding.PEM))
    (folder / "key.pem").write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )


def test_a_server_that_is_well_is_told_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well_known(monkeypatch, client=CLIENT)
    certificate(tmp_path, days=60)
    tls = 'tls_certificate = "certificate.pem"\ntls_key = "key.pem"\n'
    file = written(tmp_path, f'server_name = "example.org"\n{FREE_PORT}{tls}')
    said = in_process("doctor", "--config", file).good()
    assert "https://example.org/.well-known/matrix/client is there" in said
    assert "this machine's clock and that of example.org agree" in said
    assert "for example.org, 60 days left" in said
    assert said.endswith("All is well.\n")


def test_a_certificate_that_ends_soon_is_told_of(tmp_path: Path) -> None:
    certificate(tmp_path, days=3)
    tls = 'tls_certificate = "certificate.pem"\ntls_key = "key.pem"\n'
    outcome = in_process("doctor", "--config", written(tmp_path, FREE_PORT + tls))
    assert "expires in 3 days" in outcome.output
    assert "fix: renew it" in outcome.output
    assert outcome.fault() == "1 thing needs a fix"


def test_a_clock_that_is_wrong_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well_known(monkeypatch, client=CLIENT, seconds_behind=300)
    outcome = in_process("doctor", "--config", written(tmp_path, f'server_name = "example.org"\n{FREE_PORT}'))
    assert "this machine's clock and that of example.org differ by +30" in outcome.output
    assert "fix: run an NTP client" in outcome.output
    assert outcome.fault() == "1 thing needs a fix"


def test_a_missing_well_known_file_is_told_of(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    well_known(monkeypatch, client=[])
    outcome = in_process("doctor", "--config", written(tmp_path, f'server_name = "example.org"\n{FREE_PORT}'))
    assert "matrix/client answers 200 without m.homeserver" in outcome.output
    assert "fix: let example.org forward /.well-known/matrix/ to this server" in outcome.output
    assert outcome.fault() == "1 thing needs a fix"


def test_a_store_that_works_is_tried(tmp_path: Path) -> None:
    with s3("blobs") as url:
        said = in_process("doctor", "--config", written(tmp_path, FREE_PORT + s3_settings(url, "blobs"))).good()
    assert "the s3 bucket blobs takes a file, gives it back, and deletes it" in said


def test_a_store_that_does_not_work_is_told_of(tmp_path: Path) -> None:
    with s3("blobs") as url:
        outcome = in_process("doctor", "--config", written(tmp_path, FREE_PORT + s3_settings(url, "no-such")))
    assert "the s3 bucket no-such: it cannot be written: " in outcome.output
    assert "fix: check media_store: bucket, prefix, endpoint" in outcome.output
    assert outcome.fault() == "1 thing needs a fix"


def test_a_folder_of_media_that_is_in_the_way_is_told_of(tmp_path: Path) -> None:
    (tmp_path / "way").write_text("in the way")
    place = f'[media_store]\nfolder = "{tmp_path / "way" / "blobs"}"\n'
    outcome = in_process("doctor", "--config", written(tmp_path, FREE_PORT + place))
    assert "it cannot be written: the folder of media cannot be written: Not a directory" in outcome.output
    assert outcome.fault() == "1 thing needs a fix"


def s3_settings(url: str, bucket: str) -> str:
    return (
        f'[media_store]\nkind = "s3"\nbucket = "{bucket}"\nendpoint = "{url}"\nregion = "eu-1"\n'
        'access_key = "key"\nsecret_key = "secret"\nredirect_seconds = 60\n'
    )


def test_rooms_that_are_being_completed_are_told_of(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    well_known(monkeypatch, client=CLIENT)
    now_ms = int(dt.datetime.now(dt.UTC).timestamp() * 1000)

    async def join(number: int, minutes_ago: int, tries: int, trouble: str) -> None:
        async with open_database(database_url, connections=1) as database:
            await database.run(
                lambda tx: tx.execute(
                    """
                    WITH room AS (
                        INSERT INTO rooms (room_id, version, head, state_root, extremities)
                        VALUES ($1, '12', 1, '', '{}') RETURNING room_nid
                    )
                    INSERT INTO partial_rooms (room_nid, join_event_id, servers, told_root, started_ts, tries, trouble)
                    SELECT room_nid, '$join', '{far.test}', '', $2, $3, $4 FROM room
                    """,
                    f"!room{number}",
                    now_ms - minutes_ago * 60_000,
                    tries,
                    trouble,
                )
            )
            nid = await database.run(
                lambda tx: tx.fetchval("SELECT room_nid FROM rooms WHERE room_id = $1", f"!room{number}")
            )
            await database.run(note_fetched, nid, 1000, 50_000)

    file = written(tmp_path, f'server_name = "example.org"\n{FREE_PORT}[database]\nurl = "{database_url}"\n')
    trio.run(join, 1, 2, 0, "")
    said = in_process("doctor", "--config", file).good()
    assert "!room1, joined through far.test 2 min ago, is being completed: 1000 of 50000 events are here" in said
    trio.run(join, 2, 60, 7, "far.test: it does not answer")
    outcome = in_process("doctor", "--config", file)
    assert "7 tries have failed, the last with: far.test: it does not answer" in outcome.output
    assert outcome.fault() == "1 thing needs a fix"


def test_too_few_connections_to_postgresql_are_told_of(
    tmp_path: Path, database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    well_known(monkeypatch, client=CLIENT)
    database = f'[database]\nurl = "{database_url}"\nconnections = 200\n'
    file = written(tmp_path, f'server_name = "example.org"\nprocesses = 30\n{FREE_PORT}{database}')
    outcome = in_process("doctor", "--config", file)
    assert "connections, and we may want 6386" in outcome.output
    assert "fix: raise max_connections" in outcome.output
    assert outcome.fault() == "1 thing needs a fix"
