"""`python -m benchmarks [case …] [--quick] [--device cpu|gpu] [--list] [--minutes 30]`."""

import argparse
import os
import sys

FAST_TO_COMPILE = "--xla_backend_optimization_level=0 --xla_llvm_disable_expensive_passes=true"


def main() -> int:
    """Read the options and run; what must be set before NumPy and JAX start is set here."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument(
        "case", nargs="*", help="names of cases, scaling or soak; all cases without"
    )
    parser.add_argument("--quick", action="store_true", help="tiny sizes; nothing is written")
    parser.add_argument("--device", choices=["cpu", "gpu"], default="cpu")
    parser.add_argument("--list", action="store_true", help="name the cases and stop")
    parser.add_argument("--repetitions", type=int, help="of each contender; 7, or 1 with --quick")
    parser.add_argument("--minutes", type=float, help="of the soak; 30, or 0.2 with --quick")
    options = parser.parse_args()
    # SciPy's solvers multiply tiny matrices, for which OpenBLAS would wake all cores.
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")
    if options.device == "cpu":
        os.environ["JAX_PLATFORMS"] = "cpu"
    if options.quick:
        # Here compiling is all that takes time, and nobody reads how fast the programs are.
        os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FAST_TO_COMPILE}"
    from benchmarks.runner import run

    return run(options)


if __name__ == "__main__":
    sys.exit(main())
