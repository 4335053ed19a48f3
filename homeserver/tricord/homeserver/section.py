"""The base of every section of the settings."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A table of the settings file. Each field has a description, which operators read as a comment.

    A field of type `SecretStr` may be given as `<name>_file` instead: the path of a file that holds it.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=False)
