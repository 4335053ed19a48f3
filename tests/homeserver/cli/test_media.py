"""`tricord media`, while the server runs."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest
import trio

from tests.homeserver.cli.commands import Outcome, tricord
from tests.servers import server_process, signed_in
from tricord.clients import Refused


async def test_an_operator_looks_after_media(database_url: str, tmp_path: Path) -> None:
    async with server_process(database_url, tmp_path) as server, signed_in(server.url, "alice") as alice:

        async def media(*words: str) -> Outcome:
            command = partial(tricord, tmp_path, "media", *words, "--config", server.config_file)
            return await trio.to_thread.run_sync(command)

        async def is_seen(uri: str) -> bool:
            try:
                async with alice.download(uri) as download:
                    return bool(await download.read())
            except Refused:
                return False

        one, other = await alice.upload(b"one" * 700_000), await alice.upload(b"other")
        assert "2 files of our users, 2.0 MiB" in (await media("usage")).good()
        assert "1 files" in (await media("quarantine", one)).good()
        assert (await is_seen(one), await is_seen(other)) == (False, True)
        (await media("release", one)).good()
        assert await is_seen(one)
        assert "2 files" in (await media("erase", alice.user_id, "--yes")).good()
        assert (await is_seen(one), await is_seen(other)) == (False, False)
        assert not [file for file in (tmp_path / "media").rglob("*") if file.is_file()]
        (await media("forget-remote", "--days", "0")).good()
        assert "mxc://" in (await media("erase", "nonsense", "--yes")).fault()


@pytest.mark.parametrize("verb", ["quarantine", "release", "erase"])
def test_it_must_be_said_what_is_meant(tmp_path: Path, verb: str) -> None:
    assert "WHAT" in tricord(tmp_path, "media", verb).fault()
