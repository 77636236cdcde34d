"""What the examples share: their arguments, folder of pictures, seeds, progress and tables."""

import argparse
import dataclasses
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TypeVar

import jax
import numpy as np
from matplotlib.figure import Figure
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

Part = TypeVar("Part")


@dataclasses.dataclass(frozen=True)
class Script:
    """One run of an example.

    Attributes:
        quick: Whether a short run is asked for.
        seed: Where all its random numbers begin.
        folder: Where its pictures go.
        console: Where its words go.
    """

    quick: bool
    seed: int
    folder: Path
    console: Console
    _began: float = dataclasses.field(default_factory=time.perf_counter)
    _drawn: list[str] = dataclasses.field(default_factory=list)

    def key(self, stream: int = 0) -> jax.Array:
        """A key of JAX; another one of each stream."""
        return jax.random.key(self.seed + stream)

    def rng(self, stream: int = 0) -> np.random.Generator:
        """A generator of NumPy; another one of each stream."""
        return np.random.default_rng(self.seed + stream)

    def progress(self) -> Progress:
        """Bars, above which the console still writes."""
        return Progress(console=self.console)

    def track(self, parts: Sequence[Part], description: str) -> Iterator[Part]:
        """The parts in turn, with a bar of how many are done."""
        with self.progress() as progress:
            yield from progress.track(parts, description=description)

    def section(self, title: str) -> None:
        """A heading."""
        self.console.rule(title, align="left")

    def table(self, title: str, headings: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
        """Print a table: the first column on the left, numbers on the right."""
        table = Table(title=title, title_justify="left")
        for index, heading in enumerate(headings):
            table.add_column(heading, justify="right" if index else "left")
        for row in rows:
            table.add_row(*map(str, row))
        self.console.print(table)

    def save(self, figure: Figure, name: str) -> None:
        """Write a picture into the folder, under this name."""
        self.folder.mkdir(parents=True, exist_ok=True)
        figure.savefig(self.folder / f"{name}.png", dpi=130)
        self._drawn.append(f"{name}.png")

    def end(self) -> None:
        """Say how long it took and where the pictures are."""
        words = f"{time.perf_counter() - self._began:.0f} s."
        if self._drawn:
            words += f" Pictures in {self.folder.resolve()}: {', '.join(self._drawn)}"
        self.console.print(f"\n{words}", highlight=False)


def start(file: str, description: str | None, quick: str) -> Script:
    """What the command line asks for: `python examples/NAME.py [folder] [--quick] [--seed N]`.

    Args:
        file: `__file__` of the example; its name is the beginning of the folder's.
        description: `__doc__` of the example, of which the first line is shown.
        quick: What a quick run does less of.
    """
    parser = argparse.ArgumentParser(description=(description or "").partition("\n")[0])
    folder = Path(f"{Path(file).stem}_pictures")
    parser.add_argument(
        "folder", nargs="?", default=folder, type=Path, help="of the pictures (%(default)s)"
    )
    parser.add_argument("--quick", action="store_true", help=quick)
    parser.add_argument("--seed", default=0, type=int, help="of random numbers (%(default)s)")
    options = parser.parse_args()
    return Script(options.quick, options.seed, options.folder, Console(width=110))
