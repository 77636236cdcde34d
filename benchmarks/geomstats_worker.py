"""Times geomstats on request: it needs an older numpy than JAX, so it has a process of its own.

Reads the path of a file of arrays `<case>/p` and `<case>/q`; then, for every line with the name of
a case on standard input, answers with seconds, and leaves the distances beside the file.
"""

import sys
import time
import warnings

import numpy as np
from geomstats.information_geometry.beta import BetaDistributions
from geomstats.information_geometry.categorical import CategoricalDistributions
from geomstats.information_geometry.dirichlet import DirichletDistributions
from geomstats.information_geometry.gamma import GammaDistributions
from geomstats.information_geometry.normal import NormalDistributions


def main() -> None:
    """Answer until the input ends."""
    warnings.simplefilter("ignore")
    path = sys.argv[1]
    arrays = np.load(path)
    spaces = {
        "normal": NormalDistributions(sample_dim=1),
        "categorical": CategoricalDistributions(dim=arrays["categorical/p"].shape[1] - 1),
        "gamma": GammaDistributions(),
        "beta": BetaDistributions(),
        "dirichlet": DirichletDistributions(dim=3),
    }
    for line in sys.stdin:
        name = line.strip()
        p, q = arrays[f"{name}/p"], arrays[f"{name}/q"]
        begin = time.perf_counter()
        found = np.asarray(spaces[name].metric.dist(p, q))
        seconds = time.perf_counter() - begin
        np.save(f"{path}.{name}.npy", found)
        print(seconds, flush=True)


main()
