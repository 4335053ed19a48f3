"""The base of every section of the settings, and kinds of values that several have."""

from __future__ import annotations

import ipaddress
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict


def _networks(texts: tuple[str, ...]) -> tuple[str, ...]:
    for text in texts:
        ipaddress.ip_network(text)
    return texts


Networks = Annotated[tuple[str, ...], AfterValidator(_networks)]


class Section(BaseModel):
    """A table of the settings file. Each field has a description, which operators read as a comment.

    A field of type `SecretStr` may be given as `<name>_file` instead: the path of a file that holds it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False, defer_build=True)
