"""Runs FastICA and Picard for `benchmarks.ica`, where scikit-learn and python-picard are.

Reads lines `name case` from stdin; answers each with seconds of processor time and a file that
holds the unmixing matrix. Settings are the defaults, but for the faster whitening of FastICA.
"""

import sys
import time
import warnings

import numpy as np
from picard import picard
from sklearn.decomposition import FastICA


def fast_ica(x: np.ndarray) -> np.ndarray:
    """Unmixing matrix of scikit-learn."""
    return FastICA(whiten_solver="eigh", random_state=0).fit(x).components_


def picard_o(x: np.ndarray) -> np.ndarray:
    """Unmixing matrix of Picard-O, the default of python-picard."""
    whitening, unmixing, _ = picard(x.T, random_state=0)
    return unmixing @ whitening


METHODS = {"FastICA": fast_ica, "Picard": picard_o}


def main() -> None:
    """Answer until stdin ends."""
    warnings.simplefilter("ignore")  # one that does not converge is seen by its index
    folder = sys.argv[1]
    cases = np.load(f"{folder}/cases.npz")
    loaded = {}
    for line in sys.stdin:
        name, case = line.split()
        if case not in loaded:
            loaded = {case: cases[case]}
        begin = time.process_time()
        unmixing = METHODS[name](loaded[case])
        seconds = time.process_time() - begin
        np.save(f"{folder}/unmixing.npy", unmixing)
        print(seconds, flush=True)


if __name__ == "__main__":
    main()
