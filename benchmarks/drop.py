"""What a process keeps of programs that are not used any more: `benchmarks.drop who count`.

In a process of its own, since memory that something else has freed would hide it.
"""

import gc
import json
import sys
from typing import Any

WARM = 20
"""Programs before the first reading: pools and caches fill up."""


def main() -> None:
    """Compile, run and drop so many programs; print MiB at some points."""
    who, count = sys.argv[1], int(sys.argv[2])
    import jax
    import jax.numpy as jnp

    import jaxgd as gd
    from benchmarks.gauge import give_back, resident_mib

    start = jnp.ones(3)

    def ours(centre: float) -> Any:
        return gd.minimize(lambda x: jnp.sum((x - centre) ** 2), start, gd.Adam(0.1), 20).loss

    def plain(centre: float) -> Any:
        step = jax.grad(lambda x: jnp.sum((x - centre) ** 2))
        return jax.jit(lambda x: jax.lax.fori_loop(0, 20, lambda _, x: x - 0.1 * step(x), x))(start)

    once = {"jaxgd": ours, "jax": plain}[who]
    series = []
    for at in range(WARM + count + 1):
        once(float(at))
        if at >= WARM and (at - WARM) % max(1, count // 20) == 0:
            gc.collect()
            give_back()
            series.append([at - WARM, resident_mib()])
    print(json.dumps(series))


if __name__ == "__main__":
    main()
