"""The page on choosing an optimizer names what exists."""

import re

from igeojax import optim
from tests.meta.sources import ROOT

PAGE = (ROOT / "docs" / "choosing_an_optimiser.md").read_text(encoding="utf-8")
NAME = re.compile(r"\boptim\.(\w+)\b")


def test_it_names_what_exists():
    names = set(NAME.findall(PAGE))
    assert len(names) > 10
    unknown = {name for name in names if not hasattr(optim, name)}
    assert not unknown, f"optim has no {unknown}"


def test_it_names_every_solver():
    solvers = [
        name
        for name, value in vars(optim).items()
        if isinstance(value, type) and issubclass(value, optim.Solver) and value is not optim.Solver
    ]
    assert len(solvers) > 5
    absent = [name for name in solvers if f"{name}(" not in PAGE]
    assert not absent, f"the page does not say when to take {absent}"
