"""A page in the browser on which somebody signs in, for clients that know none of the ways to do so.

https://spec.matrix.org/v1.19/client-server-api/#login-fallback

The page is the same for everybody: what stands in its address is read by its own script, and goes nowhere but into the
request that signs in.
"""

from __future__ import annotations

import secrets
from string import Template
from typing import Any

from tricord.clients.endpoint import Authentication, Endpoint
from tricord.homeserver.client_api.pages import page
from tricord.homeserver.serving.call import Answer, Call, Route

_PAGE = Template("""<!DOCTYPE html>
<html lang="en">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>Sign in</title>
<style nonce="$nonce">body { font: 1rem/1.5 sans-serif; margin: 10vh auto; max-width: 30rem; padding: 1rem }</style>
</head>
<body>
<h1>Sign in</h1>
<form>
<p><label>User name: <input name="user" autocomplete="username" required></label></p>
<p><label>Password: <input name="password" type="password" autocomplete="current-password" required></label></p>
<button>Sign in</button>
</form>
<p id="outcome" role="status"></p>
<script nonce="$nonce">
const form = document.querySelector("form");
const outcome = document.querySelector("#outcome");
const forwarded = new URLSearchParams(window.location.search);

form.addEventListener("submit", async (event) => {
    event.preventDefault();
    outcome.textContent = "";
    const body = {
        type: "m.login.password",
        identifier: { type: "m.id.user", user: form.elements.user.value },
        password: form.elements.password.value,
    };
    for (const name of ["device_id", "initial_device_display_name"]) {
        if (forwarded.has(name)) body[name] = forwarded.get(name);
    }
    if (forwarded.get("refresh_token") === "true") body.refresh_token = true;
    let response;
    try {
        const answer = await fetch("/_matrix/client/v3/login", {
            method: "POST",
            headers: { "Content-Type": "application/json" },
            body: JSON.stringify(body),
        });
        response = await answer.json();
        if (!answer.ok) {
            outcome.textContent = response.error;
            return;
        }
    } catch {
        outcome.textContent = "The server does not answer.";
        return;
    }
    form.hidden = true;
    outcome.textContent = "You are signed in. You may close this window and go back to your app.";
    if (window.matrixLogin && window.matrixLogin.onLogin) window.matrixLogin.onLogin(response);
});
</script>
</body>
</html>
""")


class LoginPage(Endpoint):
    """The page.

    https://spec.matrix.org/v1.19/client-server-api/#login-fallback
    """

    method = "GET"
    path = "/_matrix/static/client/login/"
    authentication = Authentication.NONE
    body_kind = "none"


class LoginPageApi:
    """`/_matrix/static/client/login/`."""

    def routes(self) -> list[Route]:
        """Return the routes."""
        return [Route(LoginPage, self.show)]

    async def show(self, _call: Call[Any, Any]) -> Answer:
        """Answer the page."""
        nonce = secrets.token_urlsafe(16)
        return page(_PAGE.substitute(nonce=nonce), nonce=nonce, allowing="connect-src 'self'; form-action 'none'")
