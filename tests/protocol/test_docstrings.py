"""What the library says of itself is true."""

from __future__ import annotations

import doctest
import importlib
import inspect
import pkgutil
from pathlib import Path

import pytest

import tricord.protocol

_PUBLIC = [
    importlib.import_module(module.name)
    for module in pkgutil.walk_packages(tricord.protocol.__path__, "tricord.protocol.")
    if not module.name.endswith("__main__")
]


def test_the_example_works() -> None:
    results = doctest.testmod(tricord.protocol)
    assert results.attempted > 5
    assert results.failed == 0


def test_the_map_names_every_module() -> None:
    folder = Path(tricord.protocol.__path__[0])
    shown = tricord.protocol.__doc__ or ""
    inner = {"event_format", "membership_rules", "numbered_rules", "power_level_rules", "property_paths"}
    for path in folder.iterdir():
        if not path.stem.startswith("_") and path.suffix in ("", ".py") and path.stem != "py":
            assert path.stem in shown or path.stem in inner | {"unpadded_base64"}, path.stem


@pytest.mark.parametrize("module", _PUBLIC, ids=lambda module: str(module.__name__))
def test_every_public_name_says_what_it_means(module: object) -> None:
    assert inspect.getdoc(module)
    for name, value in vars(module).items():
        if name.startswith("_") or getattr(value, "__module__", None) != getattr(module, "__name__", None):
            continue
        if inspect.isfunction(value) or inspect.isclass(value):
            assert (value.__doc__ or "").strip(), name
        if inspect.isclass(value):
            for inner_name, inner in vars(value).items():
                if not inner_name.startswith("_") and isinstance(inner, property | classmethod | staticmethod):
                    assert inspect.getdoc(inner), f"{name}.{inner_name}"
                if not inner_name.startswith("_") and inspect.isfunction(inner):
                    assert inspect.getdoc(inner), f"{name}.{inner_name}"
