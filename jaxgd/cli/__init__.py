"""The command line: commands that compute, a page about results, lists of what there is."""

import inspect
import platform

import click
import jax

from jaxgd import __version__
from jaxgd.cli.errors import OneLineErrors
from jaxgd.cli.listing import landscapes, rules, schedules
from jaxgd.cli.options import Headed, run_options
from jaxgd.cli.report import report
from jaxgd.cli.run import run

__all__ = ["command_line"]


# \b keeps click from filling the lines that follow.
_EXAMPLES = """\b
Examples:
  jaxgd run rosenbrock --gtol 1e-4 --out results
  jaxgd run fit.py:loss --schedule "CosineDecay(0.1, 500)" --max-steps 500
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


command_line.add_command(
    Headed(
        "run",
        callback=run,
        params=[click.Argument(["what"], metavar="TARGET"), *run_options()],
        help=inspect.getdoc(run),
        epilog=_EXAMPLES,
        short_help="Minimise a loss.",
    )
)
for command in (report, rules, schedules, landscapes):
    command_line.add_command(command)
