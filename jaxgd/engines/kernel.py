"""One kernel: a function that XLA:CPU compiles as a whole, its loops included.

By default XLA:CPU makes a kernel of each group of operations that it fuses and calls them one after
another, which costs 40 to 100 ns each. A call that is marked becomes one native function. The marks
are XLA's own and no promise: a test compares them with the release at hand, and where they mean
nothing the same function runs kernel by kernel.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

from jaxgd.engines.cost import equations, matrix_product
from jaxgd.tree import is_key

try:
    from jax.experimental import xla_metadata
except ImportError:  # pragma: no cover  (a release of JAX without marks)
    xla_metadata = None  # type: ignore[assignment]

MARKS = {"xla_cpu_small_call": "true", "inlineable": "false"}
"""Compile the call as one function, and do not dissolve it in its surroundings before."""


SMALL = 64
"""Entries of an array that is handed through to be used."""
MOST_BYTES = 2**21
"""Of an array that is made: on more than that several threads work, outside of a kernel."""
MOST_CONSTANT_BYTES = 4096
"""Of an array that is compiled in; what losses refer to is handed in instead."""
MOST_PRODUCTS = 2048
"""Multiplications of a product of two matrices that is as fast in a kernel as outside."""
MOST_PRODUCTS_OF_A_LANE = 200
"""The same where it is unrolled, for each of many lanes."""
IN_PLACE = frozenset({"dynamic_update_slice", "while", "scan", "cond", "jit", "pjit"})
"""What makes no arrays, or only by what is in it."""
_NAMES = """
abs acos acosh add add_any and argmax argmin asin asinh atan atan2 atanh bessel_i0e
bessel_i1e bitcast_convert_type broadcast_in_dim cbrt ceil clamp closed_call clz complex
concatenate cond conj convert_element_type copy cos cosh cumlogsumexp cummax cummin cumprod
cumsum custom_jvp_call custom_vjp_call digamma div dot_general dynamic_slice
dynamic_update_slice empty2 eq erf erf_inv erfc exp exp2 expm1 floor gather ge gt igamma
igamma_grad_a igammac imag integer_pow iota is_finite jit layout_constraint le le_to lgamma
log log1p log2 logistic lt lt_to max min mul ne neg nextafter not one_minus_square or pad
pjit polygamma population_count pow random_bits random_fold_in random_gamma random_seed random_split
random_unwrap random_wrap real reduce reduce_and reduce_max reduce_min reduce_or
reduce_precision reduce_prod reduce_sum reduce_xor regularized_incomplete_beta rem reshape
rev round rsqrt scan select_n shift_left shift_right_arithmetic shift_right_logical sign sin
sinh slice split sqrt square squeeze stack stop_gradient sub tan tanh threefry2x32 tile
transpose unstack while xor zeta
"""
ALLOWED = frozenset(_NAMES.split())
"""Primitives that were seen to compile, and to compute the same in a kernel as outside of one."""


class RefusedError(Exception):
    """A function cannot be one kernel; the message says why, for the user."""


def one_kernel(function: Callable[..., Any], *args: Any) -> Any:
    """`function(*args)` in one kernel.

    Args:
      function: traceable; arrays of an outer trace that it refers to are passed as well.
      args: pytrees of arrays.

    Raises:
      RefusedError: it has something that cannot be in a kernel.
    """
    leaves, treedef = jax.tree.flatten(args)

    def flat(*leaves: Any) -> Any:
        return function(*jax.tree.unflatten(treedef, leaves))

    traced, result = jax.make_jaxpr(flat, return_shape=True)(*leaves)
    refuse(traced.jaxpr)
    if any(_is_constant(value) for value in traced.consts):
        raise RefusedError(_CONSTANTS)
    values = [jnp.asarray(value) for value in (*traced.consts, *leaves)]
    captured = len(traced.consts)

    def whole(*values: Any) -> Any:
        outputs = jax.core.eval_jaxpr(traced.jaxpr, values[:captured], *values[captured:])
        # A parameter that nothing uses aborts the compiler, so each one is.
        return outputs, [_touched(value) for value in values]

    marked: Any = xla_metadata.set_xla_metadata
    outputs, _ = marked(jax.jit(whole)(*values), **MARKS)
    return jax.tree.unflatten(jax.tree.structure(result), outputs)


def refuse(jaxpr: Any, *, many: bool = False) -> None:
    """Raise a RefusedError if a jaxpr has something that cannot, or should not, be in a kernel.

    Args:
      jaxpr: with all that it calls.
      many: whether many of it are made side by side; it is that of one.
    """
    if xla_metadata is None:  # pragma: no cover
        raise RefusedError("this release of JAX cannot mark a kernel")
    for eqn in equations(jaxpr):
        name = eqn.primitive.name
        if name not in ALLOWED and not _stays(eqn):
            raise RefusedError(f"it has {name}, which cannot be in one kernel")
        if name not in IN_PLACE and any(_bytes(var.aval) > MOST_BYTES for var in eqn.outvars):
            raise RefusedError("its arrays are so large that more threads than one work on them")
        if any(_is_narrow(var.aval) for var in eqn.outvars):
            raise RefusedError("it has floats of two bytes, which are slow in one kernel")
        if any(map(_is_constant, _constants(eqn))):
            raise RefusedError(_CONSTANTS)
        if name == "dot_general":
            _refuse_product(eqn, many=many)


def _stays(eqn: Any) -> bool:
    """Whether it is a reshard on one of several devices, as `where` has them: nothing moves."""
    resharded = eqn.primitive.name == "reshard"
    return resharded and bool(eqn.params["dst_sharding"].mesh.are_all_axes_manual)


def _refuse_product(eqn: Any, *, many: bool) -> None:
    work, rows, columns = matrix_product(eqn)
    of_vector = min(rows, columns) == 1 and not many
    if work > (MOST_PRODUCTS_OF_A_LANE if many else MOST_PRODUCTS) and not of_vector:
        raise RefusedError(f"it has products of {work} multiplications, slow in one kernel")


def _bytes(aval: Any) -> int:
    itemsize = getattr(getattr(aval, "dtype", None), "itemsize", 0)
    return int(getattr(aval, "size", 0) * itemsize)


_CONSTANTS = "a function in it, or its rule, refers to an array of more than 4 KiB"


def _constants(eqn: Any) -> list[Any]:
    """What the functions that an equation calls refer to."""
    return [const for value in eqn.params.values() for const in getattr(value, "consts", ())]


def _is_constant(value: Any) -> bool:
    """Whether a value would be compiled in, and is so large that XLA:CPU aborts then."""
    return not isinstance(value, jax.core.Tracer) and _bytes(value) > MOST_CONSTANT_BYTES


def _is_narrow(aval: Any) -> bool:
    dtype = getattr(aval, "dtype", None)
    return dtype is not None and jnp.issubdtype(dtype, jnp.floating) and dtype.itemsize < 4


def _touched(value: jax.Array) -> jax.Array:
    """Something small that depends on an array."""
    return value if is_key(value) or value.size <= SMALL else value[(0,) * value.ndim]
