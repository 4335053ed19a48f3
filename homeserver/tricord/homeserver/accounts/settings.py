"""What an operator can set about accounts: who may register, and how people sign in."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, SecretStr, StringConstraints

from tricord.homeserver.section import Section

WebAddress = Annotated[str, StringConstraints(pattern=r"^https?://[^\s\"'<>]+$", max_length=2048)]
OpaqueId = Annotated[str, StringConstraints(pattern=r"^[0-9A-Za-z._~-]{1,255}$")]


class TermsDocument(Section):
    """A document that new users accept."""

    id: OpaqueId = Field(description="a name for machines, such as terms_of_service")
    version: OpaqueId = Field(description="which edition of it, such as 1.0")
    name: str = Field(min_length=1, max_length=255, description="a name for people")
    url: WebAddress = Field(description="where its text is")
    language: OpaqueId = Field("en", description="the language of name and text, as in RFC 5646")


class RegistrationSettings(Section):
    """Who may create an account."""

    enabled: bool = Field(False, description="whether people may register themselves")
    token_required: bool = Field(
        False, description="whether registering takes a token, made with: tricord token create"
    )
    terms: tuple[TermsDocument, ...] = Field(
        (),
        description='what they must accept: [{ id = "terms_of_service", version = "1", name = "Terms", url = '
        '"https://…" }]',
    )
    shared_secret: SecretStr | None = Field(
        None, description="lets scripts that know it create accounts, including administrators; none: no script can"
    )
    guests: bool = Field(
        False, description="whether people may come in as guests, to read and write in rooms that allow it"
    )
    minimum_password_length: int = Field(1, ge=1, le=128, description="shorter new passwords are refused")


class UserDirectorySettings(Section):
    """Whom users find when they search for others."""

    all_local_users: bool = Field(
        False,
        description="true: everybody on this server; false: only users in public rooms or in rooms shared with "
        "the searcher",
    )


class LoginSettings(Section):
    """How people sign in, and for how long."""

    access_token_lifetime: int = Field(
        3600,
        ge=10,
        description="seconds that an access token lasts for clients that can refresh it",
    )
    refresh_token_lifetime: int = Field(
        0, ge=0, description="seconds that a refresh token lasts unused; 0: until the user signs out"
    )
    unrefreshable_token_lifetime: int = Field(
        0,
        ge=0,
        description="seconds that an access token lasts for other clients; 0: until the user signs out",
    )
    login_tokens: bool = Field(
        True, description="whether a signed-in client may sign in another one, after asking for the password"
    )
    concurrent_password_checks: int = Field(
        2, ge=1, le=64, description="how many password hashes a process computes at a time; each takes 64 MiB"
    )
