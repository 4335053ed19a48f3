"""A page in the browser on which a stage of registration can be completed, for clients that cannot do it themselves.

https://spec.matrix.org/v1.19/client-server-api/#fallback

Everything foreign is escaped, and a policy lets nothing run or load but what bears this page's own nonce.
"""

from __future__ import annotations

import secrets
from string import Template
from typing import Any
from urllib.parse import parse_qs

from tricord.clients.api.interactive_auth import AuthData, GetFallbackPage, SubmitFallbackPage
from tricord.homeserver.accounts.interactive_auth import InteractiveAuth
from tricord.homeserver.accounts.rate_limits import RegistrationLimits
from tricord.homeserver.accounts.settings import RegistrationSettings
from tricord.homeserver.accounts.stages import DUMMY, REGISTRATION_TOKEN, TERMS, Attempt, registration_flows
from tricord.homeserver.client_api.pages import page
from tricord.homeserver.serving.call import Answer, Call, Route
from tricord.homeserver.serving.escaping import escaped
from tricord.homeserver.serving.request import read_body
from tricord.protocol.errors import Forbidden, NotFound

_STAGES = frozenset({DUMMY, TERMS, REGISTRATION_TOKEN})

_DONE = Template("""<p>Thank you. You may close this window and go back to your app.</p>
<script nonce="$nonce">
if (window.onAuthDone) {
    window.onAuthDone();
} else if (window.opener && window.opener.postMessage) {
    window.opener.postMessage("authDone", "*");
}
</script>""")

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Registration</title>
<style nonce="$nonce">body { font: 1rem/1.5 sans-serif; margin: 10vh auto; max-width: 30rem; padding: 1rem }</style>
</head>
<body>
<h1>Registration</h1>
$content
</body>
</html>
""")


class FallbackPageApi:
    """The page, and what is entered on it."""

    def __init__(self, settings: RegistrationSettings, auth: InteractiveAuth, limits: RegistrationLimits) -> None:
        self._settings = settings
        self._auth = auth
        self._limits = limits

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(GetFallbackPage, self.show), Route(SubmitFallbackPage, self.submit)]

    async def show(self, call: Call[Any, Any]) -> Answer:
        """Answer the page for a stage."""
        return _page(self._form(_stage(call)))

    async def submit(self, call: Call[Any, Any]) -> Answer:
        """Complete the stage, or show the page again and say what was wrong."""
        stage = _stage(call)
        self._limits.probe(call.client_address)
        entered = parse_qs((await read_body(call.stream, None, call.endpoint.max_body)).decode(errors="replace"))
        attempt = Attempt(stage, AuthData(token=entered.get("token", [""])[0]), None, call.client_address)
        try:
            await self._auth.complete_elsewhere(call.query.session, registration_flows(self._settings), attempt)
        except Forbidden as refused:
            return _page(f"<p><strong>{escaped(refused.message)}</strong></p>{self._form(stage)}", status=403)
        nonce = secrets.token_urlsafe(16)
        return _page(_DONE.substitute(nonce=nonce), nonce=nonce)

    def _form(self, stage: str) -> str:
        # Without an action a form is sent to where its page came from: the session stays in the query string.
        if stage == TERMS:
            links = "".join(
                f'<li><a href="{escaped(document.url)}" target="_blank" rel="noopener">'
                f"{escaped(document.name)}</a></li>"
                for document in self._settings.terms
            )
            return f'<form method="post"><p>Please read:</p><ul>{links}</ul><button>I accept</button></form>'
        if stage == REGISTRATION_TOKEN:
            return (
                '<form method="post"><p><label>Registration token: <input name="token" maxlength="64" required>'
                "</label></p><button>Continue</button></form>"
            )
        return '<form method="post"><button>Continue</button></form>'


def _stage(call: Call[Any, Any]) -> str:
    stage = call.path["auth_type"]
    if stage not in _STAGES:
        raise NotFound("there is no page for this stage")
    return stage


def _page(content: str, *, nonce: str | None = None, status: int = 200) -> Answer:
    nonce = nonce or secrets.token_urlsafe(16)
    html = _PAGE.substitute(nonce=nonce, content=content)
    return page(html, nonce=nonce, allowing="form-action 'self'", status=status)
