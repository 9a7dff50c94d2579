"""What a run returns: data only."""

import functools
import html
import importlib
import re
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxgd.pytree import pytree, static
from jaxgd.record import History
from jaxgd.refusal import described
from jaxgd.status import Status
from jaxgd.tree import PyTree, brief


@pytree
class Result:
    """The outcome of one run.

    The first five fields describe the returned iterate, the others the run.

    Example:
      >>> import jax.numpy as jnp, jaxgd as gd
      >>> result = gd.minimize(lambda x: (x - 2.0) ** 2, 0.0, gd.GradientDescent(0.1))
      >>> round(float(result.params), 4), result.converged, int(result.evaluations)
      (2.0, False, 1001)
    """

    params: PyTree
    """The iterate that is returned, in the form of the params that were given."""
    loss: Any
    """float scalar: the loss there."""
    grad_norm: Any
    """float scalar: the largest gradient entry there; under bounds, of the projected gradient."""
    aux: Any
    """What a loss with has_aux returns there, else None."""
    at_step: Any
    """int scalar: the number of updates that led there."""
    steps: Any
    """int scalar: the updates that the run made."""
    status: Any
    """int scalar: a `Status`."""
    evaluations: Any
    """int scalar: the rows of this call, each an evaluation of the loss and its gradient."""
    history: History | None
    """The rows that were recorded, None if nothing was asked for."""
    state: Any
    """All that a later call needs to continue the run: give it as `state=`."""
    compile_seconds: float | None = None
    """Seconds spent tracing and compiling; None from `descend`."""
    run_seconds: float | None = None
    """Seconds spent running; None from `descend`."""
    engine: str = static(default="plain")
    """Which engine ran."""
    diagnosis: str = static(default="")
    """With `debug`, what was not finite first in a run that is NON_FINITE."""

    @property
    def message(self) -> str:
        """Why the run ended, and what to try, in words; of a vmapped result, how often what."""
        if jnp.ndim(self.status):
            names, counts = np.unique(np.asarray(self.status), return_counts=True)
            return ", ".join(f"{n} {Status(s).name}" for s, n in zip(names, counts, strict=True))
        said = " ".join(filter(None, (self.diagnosis, Status(int(self.status)).message)))
        if self.state is None:  # of descend, or one of many: nothing continues it
            said = re.sub(r" \(state=[^)]*\)|; state=[^.]*(\.[^.]*)?(?=\.)", "", said)
        if int(self.at_step) == int(self.steps):
            return said
        if self.status == Status.MAX_STEPS and int(self.at_step) == 0:
            return _NEVER_FELL
        # The tests are made on the last iterate; the one returned is another.
        return f"{said} The iterate of step {int(self.at_step):,} is returned."

    @property
    def converged(self) -> Any:
        """Whether one of the tests in `stop` was met."""
        if jnp.ndim(self.status):
            first, last = Status.TARGET_REACHED, Status.CONVERGED_PARAMS
            return (self.status >= first) & (self.status <= last)
        return Status(int(self.status)).converged

    def rows(self) -> list[tuple[str, str]]:
        """What `print` shows: names and values."""
        if jnp.ndim(self.status):
            best = float(np.nanmin(np.asarray(self.loss)))
            return [("runs", str(jnp.shape(self.status))), ("best loss", f"{best:.9g}")]
        shown = [
            ("status", Status(int(self.status)).name),
            ("loss", f"{self.loss:.9g}"),
            ("gradient norm", f"{self.grad_norm:.3g}"),
            ("steps", f"{int(self.steps):,}"),
        ]
        if int(self.at_step) != int(self.steps):
            shown.append(("returned iterate", f"step {int(self.at_step):,}"))
        shown.append(("params", brief(self.params)))
        if self.run_seconds is not None and self.compile_seconds is not None:
            shown.append(("compile time", f"{self.compile_seconds:.3f} s"))
            shown.append(("run time", f"{self.run_seconds:.3f} s"))
        return shown

    def plot(self, loss: Any = None, args: Any = ()) -> Any:
        """A page of pictures: loss and gradient norm by step, and the path if params were recorded.

        Args:
          loss: what was minimised, for the contours below the path; None draws none.
          args: its further arguments, a tuple.

        Returns:
          A Matplotlib `Figure`, which a notebook shows.

        Raises:
          ImportError: Matplotlib is not installed.
        """
        return page_of(self, loss, args)

    def __repr__(self) -> str:
        if not _is_concrete(self):
            return f"Result(params={self.params}, loss={self.loss}, status={self.status}, ...)"
        return f"{table(self.rows())}\n{self.message}"

    def _repr_html_(self) -> str:
        if not _is_concrete(self):
            return f"<pre>{html.escape(repr(self))}</pre>"
        return f"{html_table(self.rows())}<p>{html.escape(self.message)}</p>"


@functools.singledispatch
def page(outcome: Any, *_: Any) -> Any:
    """A page of pictures of an outcome, a Matplotlib `Figure`; `jaxgd.plot` says of what kinds."""
    raise TypeError(f"a page is of a gd.Result or a gd.Runs, got {described(outcome)}")


def page_of(outcome: Any, loss: Any, args: Any) -> Any:
    """The same, and the pictures are imported first: they stand floors above, on Matplotlib."""
    importlib.import_module("jaxgd.plot")
    return page(outcome, loss, args)


def table(rows: list[tuple[str, str]]) -> str:
    """Names and values, which may have several lines, as text."""
    return "\n".join(f"{name:<17} " + value.replace("\n", "\n" + 18 * " ") for name, value in rows)


def html_table(rows: list[tuple[str, str]]) -> str:
    """The same for a notebook."""
    cells = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th>"
        f"<td style='text-align:left'>{html.escape(value).replace(chr(10), '<br>')}</td></tr>"
        for name, value in rows
    )
    return f"<table>{cells}</table>"


_NEVER_FELL = (
    "All steps were made, but the loss never fell below that of the start, which is returned. "
    "Try a learning rate 3 to 10 times lower."
)


def _is_concrete(result: Result) -> bool:
    """Whether there are numbers to show: not inside a transformation, nor of shapes alone."""
    shown = (result.loss, result.grad_norm, result.steps, result.at_step, result.status)
    arrays = np.ndarray | np.generic | jax.Array
    return all(isinstance(a, arrays) and not isinstance(a, jax.core.Tracer) for a in shown)
