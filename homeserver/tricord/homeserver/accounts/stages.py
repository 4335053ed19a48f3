"""The stages of user-interactive authentication that this server knows, each with what completes it.

https://spec.matrix.org/v1.19/client-server-api/#authentication-types
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tricord.clients.api.interactive_auth import AuthData, UserIdentifier
from tricord.homeserver.accounts.login import PasswordLogin
from tricord.homeserver.accounts.registration import Registration
from tricord.homeserver.accounts.settings import RegistrationSettings, TermsDocument
from tricord.protocol.errors import Forbidden, MissingParam
from tricord.protocol.identifiers import UserId

PASSWORD = "m.login.password"  # noqa: S105  # the name of a stage
DUMMY = "m.login.dummy"
TERMS = "m.login.terms"
REGISTRATION_TOKEN = "m.login.registration_token"  # noqa: S105  # the name of a stage

Flow = tuple[str, ...]

# What a user shows again before something that matters.
SAME_USER: tuple[Flow, ...] = ((PASSWORD,),)


def registration_flows(settings: RegistrationSettings) -> tuple[Flow, ...]:
    """Return what those who register have to go through: one flow, as long as the settings ask for."""
    stages = [
        stage for stage, wanted in ((REGISTRATION_TOKEN, settings.token_required), (TERMS, settings.terms)) if wanted
    ]
    return (tuple(stages or [DUMMY]),)


def terms_params(documents: Sequence[TermsDocument]) -> dict[str, Any]:
    """Return the policies to accept, as clients read them."""
    policies: dict[str, Any] = {}
    for document in documents:
        policy = policies.setdefault(document.id, {"version": document.version})
        policy[document.language] = {"name": document.name, "url": document.url}
    return {"policies": policies}


@dataclass(frozen=True, slots=True)
class Attempt:
    """Somebody attempts a stage: who, if that is known already, with what, and from where."""

    stage: str
    auth: AuthData
    user_id: UserId | None
    address: str


class Stages:
    """Checks what is given for a stage."""

    def __init__(self, password_login: PasswordLogin, registration: Registration) -> None:
        self._password_login = password_login
        self._registration = registration

    async def check(self, attempt: Attempt) -> None:
        """Raise Forbidden unless the attempt completes its stage."""
        match attempt.stage:
            case "m.login.dummy" | "m.login.terms":
                return
            case "m.login.password":
                await self._check_password(attempt)
            case "m.login.registration_token":
                token = attempt.auth.token
                if not token or not await self._registration.token_is_valid(token):
                    raise Forbidden("the registration token is not valid")
            case _:
                raise Forbidden(f"unknown stage {attempt.stage[:64]!r}")

    async def _check_password(self, attempt: Attempt) -> None:
        auth = attempt.auth
        if auth.password is None:
            raise MissingParam("`password` is missing")
        identifier = auth.identifier or UserIdentifier(type="m.id.user", user=auth.user or attempt.user_id)
        if self._password_login.user_id(identifier) != attempt.user_id:
            raise Forbidden("this is not the user who is signed in")
        await self._password_login.check(identifier, auth.password, address=attempt.address)
