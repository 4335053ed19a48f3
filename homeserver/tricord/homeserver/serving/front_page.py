"""What somebody sees who opens the server's address in a browser."""

from __future__ import annotations

import secrets
from string import Template
from typing import Any

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.homeserver.serving.escaping import escaped
from tricord.protocol.identifiers import ServerName

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>$name</title>
<style nonce="$nonce">body { font: 1rem/1.5 sans-serif; margin: 10vh auto; max-width: 30rem; padding: 1rem }</style>
</head>
<body>
<h1>$name</h1>
<p>This is a <a href="https://matrix.org">Matrix</a> homeserver, and it runs.</p>
<p>Sign in with any <a href="https://matrix.org/ecosystem/clients/">Matrix client</a>, and give it this page's
address as the homeserver.</p>
</body>
</html>
""")


class FrontPage(Endpoint):
    """A page that says what this is."""

    method = "GET"
    path = "/"
    authentication = Authentication.NONE
    hot = True
    body_kind = "none"


class FrontPageApi:
    """`/`."""

    def __init__(self, server_name: ServerName) -> None:
        self._server_name = server_name

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(FrontPage, self.show)]

    async def show(self, _call: Call[Any, Any]) -> Answer:
        """Answer the page."""
        nonce = secrets.token_urlsafe(16)
        policy = f"default-src 'none'; style-src 'nonce-{nonce}'; base-uri 'none'; frame-ancestors 'none'"
        return Answer(
            _PAGE.substitute(nonce=nonce, name=escaped(self._server_name)).encode(),
            headers=(
                (b"content-type", b"text/html; charset=utf-8"),
                (b"content-security-policy", policy.encode()),
                (b"x-content-type-options", b"nosniff"),
                (b"referrer-policy", b"no-referrer"),
            ),
        )
