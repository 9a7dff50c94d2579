"""`python -m benchmarks [case …] [--quick]`."""

import argparse

from benchmarks import many, single

CASES = {"single": single.main, "many": many.main}


def main():
    """Run the cases that were named, or all."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("case", nargs="*", choices=[[], *CASES], default=[])
    parser.add_argument("--quick", action="store_true", help="fewer repetitions; nothing is saved")
    options = parser.parse_args()
    for name in options.case or CASES:
        CASES[name](options.quick)


main()
