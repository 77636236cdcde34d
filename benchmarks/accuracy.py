"""Errors against true values: worst, 90th percentile and median, beside scipy, torch and TFP.

    python -m benchmarks.accuracy            # prints the table
    python -m benchmarks.accuracy --write    # and replaces benchmarks/results/accuracy.{json,md}

The cases are those of `tests/reference`: close, far, extreme and ordinary pairs, each computed to
40 digits. The peers' errors depend on this grid's share of hard cases. A peer that is not installed
is skipped; its functions are called case by case, ours in one compiled batch.
"""

import argparse
import importlib.metadata
import json
import platform
from pathlib import Path
from typing import Any

import jax
import numpy as np

from benchmarks.peers import PEERS
from tests.reference.compare import errors, is_non_negative, load, percentiles, ranked
from tests.reference.compare import relative_error as error_of
from tests.reference.functions import FILES
from tests.reference.goals import DTYPES, Errors

RESULTS = Path(__file__).parent / "results"


def peer_errors(function: Any, file: str, quantity: str, dtype: str) -> Errors:
    """A peer's errors; an exception counts as no value at all."""
    found = []
    for case in load(file, quantity, dtype):
        try:
            with np.errstate(all="ignore"):
                inputs = {name: value.astype(dtype) for name, value in case.inputs.items()}
                got = np.asarray(function(case.order, **inputs))
            error = error_of(case, got, dtype, is_non_negative(case))
        except Exception:
            error = float("inf")
        found.append((error, case))
    return percentiles([error for error, _ in ranked(found, dtype)])


def rows() -> dict[str, dict[str, dict[str, Errors]]]:
    """Errors by quantity, dtype and library."""
    table: dict[str, dict[str, dict[str, Errors]]] = {}
    for file, functions in FILES.items():
        for quantity, function in functions.items():
            for dtype in DTYPES:
                own = ranked(errors(file, quantity, dtype, function), dtype)
                cell = {"igeojax": percentiles([error for error, _ in own])}
                for library, peers in PEERS.items():
                    if quantity in peers:
                        cell[library] = peer_errors(peers[quantity], file, quantity, dtype)
                table.setdefault(quantity, {})[dtype] = cell
                print(line(quantity, dtype, cell), flush=True)
    return table


def line(quantity: str, dtype: str, cell: dict[str, Errors]) -> str:
    """One row, as it is printed."""
    parts = [f"{library} " + " ".join(f"{e:.1e}" for e in found) for library, found in cell.items()]
    return f"{quantity:32s} {dtype}  " + "   ".join(parts)


def versions() -> str:
    """What made the table."""
    names = ["jax", "scipy", "torch", "tensorflow-probability", "tfp-nightly"]
    found = []
    for name in names:
        try:
            found.append(f"{name} {importlib.metadata.version(name)}")
        except importlib.metadata.PackageNotFoundError:
            continue
    return f"Python {platform.python_version()}, " + ", ".join(found)


def markdown(table: dict[str, dict[str, dict[str, Errors]]]) -> str:
    """The table as a page."""
    libraries = ["igeojax", *PEERS]
    lines = [
        "# Errors against true values",
        "",
        f"`python -m benchmarks.accuracy --write`, on a CPU, {versions()}.",
        "",
        "Worst / 90th percentile / median over the cases of `tests/reference`, relative; for",
        "quantities of matrices in units of `eps (1 + condition)`. `inf`: a nan, a wrong",
        "infinity, a negative divergence or an exception. Many cases are hard on purpose: they",
        "say nothing about ordinary inputs. Empty: no such function, or the peer was not there.",
        "scipy computes in float64 whatever it is given.",
        "",
        "| quantity | dtype | " + " | ".join(libraries) + " |",
        "| --- | --- |" + " --- |" * len(libraries),
    ]
    for quantity, row in table.items():
        for dtype, cell in row.items():
            values = [
                " / ".join(f"{e:.0e}" for e in cell[library]) if library in cell else ""
                for library in libraries
            ]
            lines.append(f"| {quantity} | {dtype} | " + " | ".join(values) + " |")
    return "\n".join(lines) + "\n"


def main() -> None:
    """Print the table, and write it where asked to."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])  # type: ignore[union-attr]
    parser.add_argument("--write", action="store_true", help="replace the committed table")
    arguments = parser.parse_args()
    jax.config.update("jax_enable_x64", True)
    jax.config.update("jax_numpy_rank_promotion", "raise")
    table = rows()
    if arguments.write:
        own = {
            quantity: {dtype: list(cell["igeojax"]) for dtype, cell in row.items()}
            for quantity, row in table.items()
        }
        compact = ",\n".join(f" {json.dumps(q)}: {json.dumps(row)}" for q, row in own.items())
        (RESULTS / "accuracy.json").write_text("{\n" + compact + "\n}\n", encoding="utf-8")
        (RESULTS / "accuracy.md").write_text(markdown(table), encoding="utf-8")


if __name__ == "__main__":
    main()
