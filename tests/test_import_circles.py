"""The contract that forbids circles of imports sees one."""

from __future__ import annotations

from grimp import ImportGraph

from tests.import_circles import NoCircles


def circles(*imports: tuple[str, str]) -> list[str]:
    graph = ImportGraph()
    for module in {each for pair in imports for each in pair}:
        graph.add_module(module)
    for importer, imported in imports:
        graph.add_import(importer=importer, imported=imported)
    check = NoCircles("circles", {}, {}).check(graph, verbose=False)
    circle: list[str] = check.metadata["circle"]
    assert check.kept is not bool(circle)
    return circle


def test_a_circle_is_found() -> None:
    assert set(circles(("a", "b"), ("b", "c"), ("c", "b"))) == {"b", "c"}


def test_two_ways_to_one_module_are_none() -> None:
    assert circles(("a", "b"), ("a", "c"), ("b", "d"), ("c", "d")) == []
