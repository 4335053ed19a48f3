"""`tricord demo`: two organizations on one machine, who talk to each other, to be tried with a real client."""

from __future__ import annotations

from pathlib import Path

import click

from tricord.homeserver.cli.faults import faults_explained


@click.command(short_help="Show two servers whose people talk.")
@click.option(
    "--data-dir",
    type=click.Path(path_type=Path, file_okay=False),
    help="Keep the data there, for another time; otherwise it is thrown away in the end.",
)
@click.option("--once", is_flag=True, help="End after the conversation instead of staying up.")
def demo(data_dir: Path | None, once: bool) -> None:
    """Run two homeservers that federate, with people and a bot who talk across them.

    Each is a real `tricord serve` with a PostgreSQL of its own and TLS by an authority made for the occasion. After the
    conversation they stay up: sign in with any Matrix client at the addresses that are printed. Ctrl-C ends it.
    """
    import contextlib
    import tempfile

    import trio

    from tricord.homeserver.demo.story import tell

    with contextlib.ExitStack() as stack:
        if data_dir is None:
            folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="tricord-demo-")))
        else:
            folder = data_dir.resolve()
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        try:
            with faults_explained():
                trio.run(tell, folder, once)
        except* KeyboardInterrupt:
            click.echo("stopping")
