"""The command line: commands that compute, a page about results, lists of what there is."""

import inspect
import platform
from collections.abc import Callable, Iterable

import click
import jax

from jaxgd import __version__
from jaxgd.cli.compare import compare
from jaxgd.cli.errors import OneLineErrors
from jaxgd.cli.listing import landscapes, rules, schedules
from jaxgd.cli.options import Headed, Option, compare_options, run_options, tune_options
from jaxgd.cli.report import report
from jaxgd.cli.resume import resume
from jaxgd.cli.run import run
from jaxgd.cli.tune import tune

__all__ = ["command_line"]


# \b keeps click from filling the lines that follow.
_RUN_EXAMPLES = """\b
Examples:
  jaxgd run rosenbrock --gtol 1e-4 --out results --plot
  jaxgd run fit.py:loss --schedule "CosineDecay(0.1, 500)" --max-steps 500
"""
_TUNE_EXAMPLES = """\b
Examples:
  jaxgd tune rosenbrock --rule momentum --max-steps 1000
  jaxgd tune fit.py:loss --low 1e-4 --high 1 --out results --plot
"""
_COMPARE_EXAMPLES = """\b
Examples:
  jaxgd compare rosenbrock --rules adam,rmsprop,momentum
  jaxgd compare rastrigin --starts 64 --target 1 --out results --plot
"""


@click.group(
    "jaxgd",
    cls=OneLineErrors,
    epilog='Start with "jaxgd run rosenbrock" and "jaxgd run --help".',
    context_settings={"help_option_names": ["-h", "--help"]},
)
@click.version_option(
    __version__,
    message=f"%(prog)s %(version)s (JAX {jax.__version__}, Python {platform.python_version()})",
)
def command_line() -> None:
    """Gradient descent on any differentiable JAX loss."""


def _command(
    does: Callable[..., int], short: str, options: Iterable[Option], examples: str
) -> Headed:
    return Headed(
        does.__name__,
        callback=does,
        params=[click.Argument(["what"], metavar="TARGET"), *options],
        help=inspect.getdoc(does),
        epilog=examples,
        short_help=short,
    )


for _made in (
    _command(run, "Minimise a loss.", run_options(), _RUN_EXAMPLES),
    resume,
    _command(tune, "Suggest a learning rate.", tune_options(), _TUNE_EXAMPLES),
    _command(compare, "Compare update rules.", compare_options(), _COMPARE_EXAMPLES),
    report,
    rules,
    schedules,
    landscapes,
):
    command_line.add_command(_made)
