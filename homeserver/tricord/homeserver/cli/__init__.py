"""The `tricord` command: one file per verb, each importing what it needs so that `--help` is quick."""

from __future__ import annotations

import click

from tricord.homeserver.cli.config import config
from tricord.homeserver.cli.demo import demo
from tricord.homeserver.cli.doctor import doctor
from tricord.homeserver.cli.init import init
from tricord.homeserver.cli.key import key
from tricord.homeserver.cli.media import media
from tricord.homeserver.cli.notice import notice
from tricord.homeserver.cli.peer import peer
from tricord.homeserver.cli.report import report
from tricord.homeserver.cli.serve import serve
from tricord.homeserver.cli.spec import spec
from tricord.homeserver.cli.token import token
from tricord.homeserver.cli.user import user
from tricord.homeserver.cli.version import version


@click.group(context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
def main() -> None:
    """Tricord, a Matrix homeserver.

    `tricord serve` alone runs one on this machine; `tricord init` is the way to a real domain.
    """


for command in (serve, init, config, key, user, token, media, report, notice, doctor, peer, demo, spec, version):
    main.add_command(command)
