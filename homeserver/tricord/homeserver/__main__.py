"""`python -m tricord.homeserver`: the `tricord` command, for where scripts are not on the path."""

from tricord.homeserver.command import main

main()
