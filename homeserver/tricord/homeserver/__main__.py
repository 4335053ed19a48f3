"""`python -m tricord.homeserver`: the `tricord` command, for where scripts are not on the path."""

from tricord.homeserver.cli import main

main(prog_name="tricord")
