"""A contract for import-linter: no module imports itself by way of others, be it late or for its types only.

Who reads one module of a circle has to read all of them.
"""

from __future__ import annotations

from graphlib import CycleError, TopologicalSorter

from grimp import ImportGraph
from importlinter import Contract, ContractCheck, output


class NoCircles(Contract):
    """Kept as long as the modules can be put in an order in which each imports only those before it."""

    type_name = "no_circles"

    def check(self, graph: ImportGraph, verbose: bool) -> ContractCheck:  # noqa: ARG002
        """Look for a circle."""
        circle: list[str] = []
        try:
            TopologicalSorter({each: graph.find_modules_directly_imported_by(each) for each in graph.modules}).prepare()
        except CycleError as error:
            circle = error.args[1]
        return ContractCheck(kept=not circle, metadata={"circle": circle})

    def render_broken_contract(self, check: ContractCheck) -> None:
        """Tell the circle."""
        output.print_error(" is imported by ".join(check.metadata["circle"]))
