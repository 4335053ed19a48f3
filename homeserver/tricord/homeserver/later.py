"""Modules that others import at their top for what they may never do: they are loaded at their first use."""

from __future__ import annotations

import sys
import threading
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from importlib.abc import Loader


@dataclass(slots=True)
class _Waiting:
    """How a module is to be loaded."""

    loader: Loader
    parts: Mapping[str, str]
    lock: threading.RLock = field(default_factory=threading.RLock)
    is_loading: bool = False


class _Later(ModuleType):
    """A module of which nothing has been executed yet."""

    def __getattr__(self, name: str) -> Any:
        waiting: _Waiting | None = vars(self).get("_waiting")
        if waiting is not None:
            if name in waiting.parts:
                return getattr(import_module(f"{self.__name__}.{waiting.parts[name]}"), name)
            if "__path__" in vars(self) and find_spec(f"{self.__name__}.{name}") is not None:
                # Who imports it asks first whether it is there already.
                raise AttributeError(name)
            self._load(waiting)
        return ModuleType.__getattribute__(self, name)

    def _load(self, waiting: _Waiting) -> None:
        with waiting.lock:
            if "_waiting" not in vars(self) or waiting.is_loading:
                return
            waiting.is_loading = True
            try:
                waiting.loader.exec_module(self)
            finally:
                waiting.is_loading = False
            del vars(self)["_waiting"]
            self.__class__ = ModuleType  # type: ignore[assignment]


def load_later(name: str, parts: Mapping[str, str] | None = None) -> None:
    """Let the import of a module load it only when something is asked of it; the same module as ever, not another.

    `parts` says in which module of a package something is: for that, no more than this module is loaded. Unlike with
    `importlib.util.LazyLoader`, a thread that asks while another loads does not find it half loaded.
    """
    spec = find_spec(name)
    if name in sys.modules or spec is None or spec.loader is None:
        return
    module = module_from_spec(spec)
    vars(module)["_waiting"] = _Waiting(spec.loader, parts or {})
    module.__class__ = _Later
    sys.modules[name] = module
