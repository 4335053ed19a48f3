"""The `tricord` command: one file per verb, loaded when it is called; each imports what it needs when it runs."""

from __future__ import annotations

from importlib import import_module

import click

_VERBS = (
    *("config", "demo", "doctor", "init", "key", "media", "notice", "peer", "report", "serve", "spec", "token", "user"),
    "version",
)


class _Verbs(click.Group):
    """The verbs: `tricord serve` waits for no other to be loaded."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002  # click hands it over
        """Return the names, as `--help` lists them."""
        return list(_VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:  # noqa: ARG002
        """Load a verb: in the file of its name, the function of its name."""
        if cmd_name not in _VERBS:
            return None
        verb: click.Command = getattr(import_module(f"{__name__}.{cmd_name}"), cmd_name)
        return verb

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Find a verb; one that is none is told which it may have been."""
        name = args[0]
        if name not in _VERBS and not name.startswith("-"):
            from difflib import get_close_matches

            close = get_close_matches(name, _VERBS)
            ctx.fail(f"No such command {name!r}." + (f" Did you mean {close[0]!r}?" if close else ""))
        return super().resolve_command(ctx, args)


def _print_version(ctx: click.Context, _: click.Parameter, is_wanted: bool) -> None:  # click's own
    if is_wanted:
        from tricord.homeserver.cli.version import version

        ctx.invoke(version)
        ctx.exit()


@click.group(cls=_Verbs, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100})
@click.option(
    "--version",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_print_version,
    help="Print versions.",
)
def main() -> None:
    """Tricord, a Matrix homeserver.

    `tricord serve` alone runs one on this machine; `tricord init` is the way to a real domain.
    """
