"""Which endpoints the code serves and calls, read from the code itself."""

from __future__ import annotations

import ast
import importlib
import inspect
import pkgutil
import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from pathlib import Path

import tricord.clients.api
from tricord.clients.endpoint import Endpoint

ROOT = Path(__file__).resolve().parents[2]
HOMESERVER = ROOT / "homeserver" / "tricord" / "homeserver"
CLIENTS = ROOT / "clients" / "tricord" / "clients"
FEDERATION = ROOT / "federation" / "tricord" / "federation"
_PARAMETER = re.compile(r"\{\w+\}")

Operation = tuple[str, str]
"""A method, and a path whose parameters have lost their names: those of the specification are not ours."""


def operation(method: str, path: str) -> Operation:
    """Return what two spellings of an endpoint have in common."""
    return method, _PARAMETER.sub("{}", path)


def routes() -> dict[Operation, set[str]]:
    """Return the modules that serve each endpoint: those with a function that names it and makes a `Route`."""
    served: dict[Operation, set[str]] = defaultdict(set)
    for file, tree in _trees(HOMESERVER):
        for function in ast.walk(tree):
            if not isinstance(function, ast.FunctionDef):
                continue
            if not any(_last_name(call.func) == "Route" for call in _calls(function)):
                continue
            module = importlib.import_module(f"tricord.{_module(file)}")
            for endpoint in _endpoints_named_in(function, module):
                served[operation(endpoint.method, endpoint.path)].add(_module(file))
    return served


def other_names() -> dict[Operation, Operation]:
    """Return for each further path of an endpoint of the client API the one that it is described by."""
    return {
        operation(endpoint.method, path): operation(endpoint.method, endpoint.path)
        for module in pkgutil.iter_modules(tricord.clients.api.__path__)
        for endpoint in vars(importlib.import_module(f"tricord.clients.api.{module.name}")).values()
        if isinstance(endpoint, type) and issubclass(endpoint, Endpoint)
        for path in getattr(endpoint, "also", ())
    }


def calls_of_the_sdk() -> dict[Operation, set[str]]:
    """Return the modules of the SDK with a method that names an endpoint."""
    called: dict[Operation, set[str]] = defaultdict(set)
    for file, tree in _trees(CLIENTS):
        if not {"api", "testing"}.isdisjoint(file.parts):
            continue
        module = importlib.import_module(f"tricord.{_module(file)}")
        for function in ast.walk(tree):
            if isinstance(function, ast.AsyncFunctionDef):
                for endpoint in _endpoints_named_in(function, module):
                    called[operation(endpoint.method, endpoint.path)].add(_module(file))
    return called


def uses(methods: Mapping[str, set[Operation]], holders: set[str], *folders: Path) -> dict[Operation, set[str]]:
    """Return the modules that call each endpoint: those that call its method of what goes by one of some names."""
    called: dict[Operation, set[str]] = defaultdict(set)
    for folder in folders:
        for file, tree in _trees(folder):
            for call in _calls(tree):
                if not isinstance(call.func, ast.Attribute) or _last_name(call.func.value) not in holders:
                    continue
                for one in methods.get(call.func.attr, ()):
                    called[one].add(_module(file))
    return called


def endpoints_of_methods(owner: type) -> dict[str, set[Operation]]:
    """Return for each method of a class the endpoints that it names, itself or in a method that it calls.

    The class may be made of others.
    """
    named: dict[str, set[Operation]] = {}
    inner: dict[str, set[str]] = {}
    for part in owner.__mro__[:-1]:
        module = importlib.import_module(part.__module__)
        for function in ast.walk(ast.parse(inspect.getsource(part))):
            if not isinstance(function, ast.AsyncFunctionDef):
                continue
            found = _endpoints_named_in(function, module)
            named[function.name] = {operation(endpoint.method, endpoint.path) for endpoint in found}
            inner[function.name] = {
                call.func.attr
                for call in _calls(function)
                if isinstance(call.func, ast.Attribute) and _last_name(call.func.value) == "self"
            }
    return {name: found.union(*(named.get(other, set()) for other in inner[name])) for name, found in named.items()}


def _endpoints_named_in(tree: ast.AST, module: object) -> set[type[Endpoint]]:
    nodes = (node for node in ast.walk(tree) if isinstance(node, ast.Attribute | ast.Name))
    return {found for node in nodes if (found := _resolved(module, node)) is not None}


def _resolved(module: object, node: ast.Attribute | ast.Name) -> type[Endpoint] | None:
    match node:
        case ast.Name(id=name):
            found = getattr(module, name, None)
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            found = getattr(getattr(module, name, None), attribute, None)
        case _:
            return None
    return found if isinstance(found, type) and issubclass(found, Endpoint) and found is not Endpoint else None


def _trees(folder: Path) -> Iterator[tuple[Path, ast.Module]]:
    for file in sorted(folder.rglob("*.py")):
        yield file, ast.parse(file.read_text(encoding="utf-8"))


def _calls(tree: ast.AST) -> Iterator[ast.Call]:
    return (node for node in ast.walk(tree) if isinstance(node, ast.Call))


def _last_name(node: ast.expr) -> str:
    return node.attr if isinstance(node, ast.Attribute) else node.id if isinstance(node, ast.Name) else ""


def _module(file: Path) -> str:
    """Return the name of a module below `tricord`."""
    return ".".join(file.with_suffix("").parts[file.parts.index("tricord") + 1 :])
