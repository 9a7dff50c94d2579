"""One point of the scaling, in a process of its own: `python -m benchmarks.point JSON`."""

import functools
import json
import os
import sys
import time


def main() -> None:
    """Do the work a few times; print the least milliseconds and the peaks of memory."""
    work = json.loads(sys.argv[1])
    if work["cores"] is not None:  # before JAX counts them
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: work["cores"]])
    import numpy as np

    import jaxgd as gd
    from benchmarks.cases.million import peak_mib
    from benchmarks.problems import rosenbrock

    draw, shape = np.random.default_rng(0), (work["runs"], work["size"])
    starts = draw.uniform(-1.5, 1.5, shape).astype(np.float32)
    call = functools.partial(
        gd.multistart, rosenbrock, starts, gd.Adam(1e-3), work["steps"], lanes=work["lanes"]
    )
    if work["runs"] == 1:
        call = functools.partial(
            gd.minimize, rosenbrock, starts[0], gd.Adam(1e-3), work["steps"], record=None
        )
    before, times = peak_mib(), []
    call(keep="last")
    for _ in range(3):
        began = time.perf_counter()
        call(keep="last")
        times.append(time.perf_counter() - began)
    print(json.dumps({"ms": min(times) * 1e3, "mib": peak_mib(), "before_mib": before}))


if __name__ == "__main__":
    main()
