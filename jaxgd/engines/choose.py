"""Which engine runs: by the jaxpr, the shapes and the device, never by the clock."""

from collections.abc import Callable
from typing import Any, TypeVar

import jax

from jaxgd.engines.base import Engine
from jaxgd.engines.cpu import Cpu
from jaxgd.engines.kernel import RefusedError, refuse
from jaxgd.engines.plain import Plain

T = TypeVar("T")


def with_engine(
    make: Callable[[Engine, str], T],
    wanted: Engine | None,
    platform: str,
    jaxpr: Any,
    *,
    many: bool,
) -> T:
    """What `make(engine, why)` makes with the engine that is wanted, or else the plain one.

    Args:
      make: compiles; `why` says, for the result, why another engine than the wanted one runs.
      wanted: None for the fastest.
      platform: of the device.
      jaxpr: of the loss; None if it has been looked at before.
      many: whether it is called for a block of lanes.
    """
    engine = wanted or (Cpu() if platform == "cpu" else Plain())
    if not isinstance(engine, Cpu):
        return make(engine, "")
    try:
        if platform != "cpu":
            raise RefusedError(f"it is for one CPU, and this is {platform}")
        if jaxpr is not None:
            refuse(jaxpr, many=many)
        return make(engine, "")
    except RefusedError as error:
        why = str(error)
    except jax.errors.JaxRuntimeError:
        # What slipped through: with the plain engine the compiler says what it minds, if it does.
        why = "XLA could not compile it in one kernel"
    return make(Plain(engine.chunk), f": {why}")
