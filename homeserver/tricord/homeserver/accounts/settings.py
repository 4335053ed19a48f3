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
    """Who may make an account."""

    enabled: bool = Field(False, description="people may register by themselves")
    token_required: bool = Field(False, description="those who register need a token, made with: tricord token create")
    terms: tuple[TermsDocument, ...] = Field(
        (),
        description='what they accept: [{ id = "terms_of_service", version = "1", name = "Terms", url = "https://…" }]',
    )
    shared_secret: SecretStr | None = Field(
        None, description="lets scripts that know it make accounts, administrators too; empty: nobody"
    )
    guests: bool = Field(False, description="people may come in as guests, to read and speak where rooms allow them")
    minimum_password_length: int = Field(1, ge=1, le=128, description="shorter new passwords are refused")


class UserDirectorySettings(Section):
    """Whom people find when they search for others."""

    all_local_users: bool = Field(
        False, description="everybody of this server; false: those in rooms shared with the searcher or open to all"
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
        True, description="a signed-in client may, after asking for the password, sign in another one"
    )
    concurrent_password_checks: int = Field(
        2, ge=1, le=64, description="password hashes that a process computes at a time; each takes 64 MiB"
    )
