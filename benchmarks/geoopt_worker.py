"""Times geoopt on request, in a process of its own: torch and JAX each keep threads.

Reads the path of a file of float32 arrays `<manifold>/x`, `/y` and `/u`; then, for every line
`<manifold> <operation>` on standard input, answers with the seconds of one call.
"""

import sys
import time

import geoopt
import numpy as np
import torch


def main() -> None:
    """Answer until the input ends."""
    torch.set_num_threads(1)
    arrays = np.load(sys.argv[1])
    manifolds = {
        "Sphere": geoopt.Sphere(),
        "PoincareBall": geoopt.PoincareBall(c=1.0),
        "Lorentz": geoopt.Lorentz(k=1.0),
    }
    methods = {"distance": ("dist", "y"), "log": ("logmap", "y"), "exp": ("expmap", "u")}
    for line in sys.stdin:
        name, operation = line.split()
        method, other = methods[operation]
        pair = [torch.from_numpy(arrays[f"{name}/{key}"]) for key in ("x", other)]
        with torch.no_grad():
            begin = time.process_time()
            getattr(manifolds[name], method)(*pair)
            print(time.process_time() - begin, flush=True)


if __name__ == "__main__":
    main()
