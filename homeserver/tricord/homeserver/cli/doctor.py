"""`tricord doctor`: look at everything that goes wrong when a server is set up, and say the fix."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import click

from tricord.homeserver.cli.options import with_settings

if TYPE_CHECKING:
    from tricord.homeserver.settings import ListenerSettings, Settings
    from tricord.homeserver.storage.partial_rooms import CompletionProgress

_CLOCK_TOLERANCE_SECONDS = 30
_EXPIRES_SOON_DAYS = 14
# A room that was joined elsewhere has all its members by then, or something is wrong.
_COMPLETE_AFTER_MINUTES = 15


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found; `fix` says what to do when it is not well."""

    well: bool
    words: str
    fix: str = ""


@click.command(short_help="Find what is wrong, and say the fix.")
@with_settings
def doctor(settings: Settings) -> None:
    """Check PostgreSQL, clock, keys, media, ports, certificates, well-known files; status 1 if something is wrong."""
    checks: list[tuple[str, Callable[[Settings], Iterator[Finding]]]] = [
        ("data", _check_data),
        ("signing key", _check_key),
        ("PostgreSQL and clock", _check_database),
        ("media store", _check_media_store),
        ("listeners", _check_listeners),
        ("well-known files", _check_well_known),
    ]
    sick = 0
    for name, check in checks:
        click.echo(click.style(name, bold=True))
        for finding in check(settings):
            mark = click.style("ok", fg="green") if finding.well else click.style("!!", fg="red")
            click.echo(f"  {mark}  {finding.words}")
            if not finding.well:
                sick += 1
                click.echo(f"      fix: {finding.fix}")
    if sick:
        raise click.ClickException(f"{sick} {'thing needs' if sick == 1 else 'things need'} a fix")
    click.echo("All is well.")


def _check_data(settings: Settings) -> Iterator[Finding]:
    folder = settings.data_dir
    if not folder.exists():
        yield Finding(well=True, words=f"{folder} does not exist yet; `tricord serve` makes it")
        return
    if folder.stat().st_mode & 0o077:
        yield Finding(well=False, words=f"{folder} is open to others", fix=f"chmod 700 {folder}")
    else:
        yield Finding(well=True, words=f"{folder} is private")


def _check_key(settings: Settings) -> Iterator[Finding]:
    from tricord.homeserver.signing_key import FILE_NAME, SigningKeyError, load_or_create_signing_key

    file = settings.data_dir / FILE_NAME
    if not file.exists():
        yield Finding(well=True, words="none yet; `tricord serve` makes one")
        return
    try:
        key = load_or_create_signing_key(settings.data_dir)
    except SigningKeyError as error:
        yield Finding(
            well=False,
            words=str(error),
            fix="restore the file from a copy; with another key this is another server to others",
        )
        return
    if file.stat().st_mode & 0o077:
        yield Finding(well=False, words=f"{file} can be read by others", fix=f"chmod 600 {file}")
    yield Finding(well=True, words=f"{key.key_id} in {file}")


def _check_database(settings: Settings) -> Iterator[Finding]:
    import trio

    from tricord.homeserver.assembly.database import connections_wanted
    from tricord.homeserver.storage.errors import DatabaseError
    from tricord.homeserver.storage.inspection import inspect_database

    url = settings.database.url.get_secret_value()
    if not url:
        from tricord.homeserver.storage.embedded import running_url

        running = running_url(settings.data_dir / "postgres")
        if running is None:
            yield Finding(well=True, words="embedded, not running; `tricord serve` starts it")
            return
        url = running
    try:
        seen = trio.run(inspect_database, url)
    except DatabaseError as error:
        yield Finding(
            well=False,
            words=f"it cannot be used: {error}",
            fix="check database.url: host, port, user, password; and that PostgreSQL lets us in (pg_hba.conf)",
        )
        return
    yield (
        Finding(well=True, words=f"PostgreSQL {seen.version}")
        if seen.major >= 14
        else Finding(well=False, words=f"PostgreSQL {seen.version} is too old", fix="upgrade it to 14 or newer")
    )
    if seen.encoding != "UTF8":
        yield Finding(
            well=False,
            words=f"the database's encoding is {seen.encoding}",
            fix="make a new database: CREATE DATABASE tricord ENCODING 'UTF8' TEMPLATE template0",
        )
    if not seen.synchronous_commit:
        yield Finding(
            well=False,
            words="synchronous_commit is off: what was acknowledged is lost when the machine fails",
            fix="ALTER DATABASE … SET synchronous_commit = on",
        )
    wanted = connections_wanted(settings)
    if seen.connections < wanted:
        yield Finding(
            well=False,
            words=f"it allows us {seen.connections} connections, and we may want {wanted}",
            fix="raise max_connections, or what limits the role or the database; or lower database.connections",
        )
    yield _clock_finding("PostgreSQL's", seen.clock_ahead_seconds)
    now_ms = int((time.time() - seen.clock_ahead_seconds) * 1000)
    yield from (_completion_finding(room, now_ms) for room in seen.completing)


def _check_media_store(settings: Settings) -> Iterator[Finding]:
    import trio

    from tricord.homeserver.assembly.media import spool_of, store_of
    from tricord.homeserver.media.probe import ProbeFailed, probe
    from tricord.homeserver.media.spool import Spool
    from tricord.homeserver.settings_sources import SettingsError

    store = settings.media_store
    if store.kind == "directory":
        where = f"the directory {store.folder or settings.data_dir / 'media' / 'blobs'}"
        fix = f"let the server's user write there, and see that the disk has space (df -h {settings.data_dir})"
    else:
        where = f"the {store.kind} bucket {store.bucket}"
        fix = (
            "check media_store: bucket, prefix, endpoint, region, keys; and that these keys may write, read and delete"
            " objects in it"
        )
    if store.kind == "directory" and store.folder is None and not settings.data_dir.exists():
        yield Finding(well=True, words=f"{where} does not exist yet; `tricord serve` makes it")
        return
    try:
        with tempfile.TemporaryDirectory() as folder:
            spool = spool_of(settings) if store.kind == "directory" else Spool(Path(folder))
            trio.run(probe, store_of(settings), spool)
    except SettingsError as error:
        yield Finding(well=False, words=str(error), fix="correct the settings in media_store")
    except ProbeFailed as failure:
        yield Finding(well=False, words=f"{where}: {failure}", fix=fix)
    else:
        yield Finding(well=True, words=f"{where} takes a file, gives it back, and deletes it")


def _completion_finding(room: CompletionProgress, now_ms: int) -> Finding:
    """Return what there is to say of a room that was joined elsewhere and whose members are still being fetched."""
    minutes = max(0, now_ms - room.started_ts) // 60_000
    far = f"{room.fetched} of {room.expected} events are here" if room.expected else "nothing is told yet"
    words = (
        f"{room.room_id}, joined through {room.through} {minutes} min ago, is being completed: {far}, "
        f"{room.postponed} events wait"
    )
    if not room.trouble or minutes < _COMPLETE_AFTER_MINUTES:
        return Finding(well=True, words=words)
    return Finding(
        well=False,
        words=f"{words}; {room.tries} tries have failed, the last with: {room.trouble}",
        fix=f"see whether the servers in the room can be reached (`tricord peer {room.through}`), or leave it",
    )


def _check_listeners(settings: Settings) -> Iterator[Finding]:
    for listener in settings.listeners:
        yield from _check_address(listener)
        if listener.tls_certificate is not None and listener.tls_key is not None:
            yield _check_certificate(listener.tls_certificate, listener.tls_key, settings.server_name)


def _check_address(listener: ListenerSettings) -> Iterator[Finding]:
    host, _, port = listener.bind.rpartition(":")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host.strip("[]"), int(port)))
        except OSError as error:
            if _answers_as_us(listener):
                yield Finding(well=True, words=f"{listener.bind}: the server runs and answers")
            else:
                yield Finding(
                    well=False,
                    words=f"{listener.bind} cannot be had: {error.strerror}",
                    fix="stop what listens there (ss -ltnp), or change `bind`",
                )
        else:
            yield Finding(well=True, words=f"{listener.bind} is free")


def _answers_as_us(listener: ListenerSettings) -> bool:
    import httpx

    scheme = "http" if listener.tls_certificate is None else "https"
    try:
        # Only whether it is our server: its certificate is looked at separately.
        answer = httpx.get(f"{scheme}://{listener.bind}/health", timeout=3, verify=False)  # noqa: S501
    except httpx.HTTPError:
        return False
    return answer.status_code == 200 and "alive" in answer.text


def _check_certificate(certificate: Path, key: Path, server_name: str) -> Finding:
    import datetime as dt
    import ssl

    from cryptography import x509

    try:
        ssl.create_default_context(ssl.Purpose.CLIENT_AUTH).load_cert_chain(certificate, key)
        parsed = x509.load_pem_x509_certificate(certificate.read_bytes())
    except (OSError, ssl.SSLError, ValueError) as error:
        return Finding(
            well=False, words=f"{certificate} and {key}: {error}", fix="name a PEM certificate chain and its own key"
        )
    left = parsed.not_valid_after_utc - dt.datetime.now(dt.UTC)
    if left < dt.timedelta(days=_EXPIRES_SOON_DAYS):
        return Finding(
            well=False, words=f"{certificate} expires in {left.days} days", fix="renew it, and restart the server"
        )
    try:
        names = parsed.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        known = names.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        known = []
    return Finding(well=True, words=f"{certificate}: for {', '.join(known) or server_name}, {left.days} days left")


def _check_well_known(settings: Settings) -> Iterator[Finding]:
    import httpx

    from tricord.homeserver.settings import is_this_machine

    if is_this_machine(settings.server_name):
        yield Finding(well=True, words="not needed for a server that serves this machine only")
        return
    host = urlsplit(f"https://{settings.server_name}").hostname or ""
    fix = (
        f"let {host} forward /.well-known/matrix/ to this server, or serve the files there; "
        f"[well_known] says what is in them"
    )
    ahead: float | None = None
    documents = [("client", "m.homeserver")]
    if settings.well_known.server:
        documents.append(("server", "m.server"))
    for document, key in documents:
        url = f"https://{f'[{host}]' if ':' in host else host}/.well-known/matrix/{document}"
        try:
            answer = httpx.get(url, timeout=5, follow_redirects=True)
            found = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError) as error:
            yield Finding(well=False, words=f"{url}: {error}", fix=fix)
            continue
        if isinstance(found, dict) and key in found:
            yield Finding(well=True, words=f"{url} is there")
        else:
            yield Finding(well=False, words=f"{url} answers {answer.status_code} without {key}", fix=fix)
        ahead = _seconds_ahead(answer.headers.get("date", ""))
    if ahead is not None:
        yield _clock_finding("that of " + host, ahead)


def _seconds_ahead(date: str) -> float | None:
    """Return how far this machine's clock is ahead of the one that wrote a Date header."""
    try:
        return time.time() - parsedate_to_datetime(date).timestamp()
    except ValueError:
        return None


def _clock_finding(other: str, seconds_ahead: float) -> Finding:
    if abs(seconds_ahead) <= _CLOCK_TOLERANCE_SECONDS:
        return Finding(well=True, words=f"this machine's clock and {other} agree")
    return Finding(
        well=False,
        words=f"this machine's clock and {other} differ by {seconds_ahead:+.0f} s",
        fix="run an NTP client (systemd-timesyncd, chrony) on both machines",
    )
