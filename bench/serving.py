"""Serve endpoints that ask no database, to measure the request path alone.

python -m bench.serving [--by-quart] &
wrk -t1 -c32 -d10 http://127.0.0.1:8009/_matrix/client/versions
"""

from __future__ import annotations

import argparse
import logging

import structlog
import trio

from tricord.homeserver.client_api.server_info import ServerInfoApi
from tricord.homeserver.serving.application import Application
from tricord.homeserver.serving.call import Requester
from tricord.homeserver.serving.dispatch import Dispatcher
from tricord.homeserver.serving.health import HealthApi
from tricord.homeserver.serving.server import Listener, listening
from tricord.homeserver.settings import Settings
from tricord.protocol.identifiers import ServerName


class Nobody:
    """Knows no access token."""

    async def authenticate(
        self,
        token: str,
        *,
        client_address: str,
        user_agent: str,
        locked_users_too: bool = False,
    ) -> Requester:
        """Refuse."""
        raise NotImplementedError("nobody signs in here")


async def serve(options: argparse.Namespace) -> None:
    """Serve until interrupted."""
    settings = Settings()
    info = ServerInfoApi(ServerName("bench.test"), settings.default_room_version, settings.well_known, settings.login)
    routes = [*info.routes(), *HealthApi(trio.lowlevel.checkpoint).routes()]
    application = Application(Dispatcher(routes, Nobody()), everything_by_quart=options.by_quart)
    async with listening([Listener(options.bind, application, {})]) as urls:
        print(f"serving at {urls[0]}", flush=True)
        await trio.sleep_forever()


def main() -> None:
    """Parse the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bind", default="127.0.0.1:8009")
    parser.add_argument("--by-quart", action="store_true", help="send hot endpoints through the web framework too")
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO), cache_logger_on_first_use=True
    )
    trio.run(serve, parser.parse_args())


if __name__ == "__main__":
    main()
