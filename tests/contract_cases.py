"""What the contract suite runs over: every variant of every rule and schedule in the registries.

All of it is read off the dataclasses' fields: a row in a registry is all that a new rule needs.
Static flags are tried both ways, optional numbers (default None) with and without, and numbers get
values that lie in the range that their field declares.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from numpy_rules import RULES as REFERENCE_RULES
from numpy_rules import TRANSFORMS as REFERENCE_TRANSFORMS
from numpy_rules import WRAPPERS as REFERENCE_WRAPPERS
from numpy_rules import Chain as ReferenceChain
from numpy_schedules import SCHEDULES as REFERENCE_SCHEDULES

import jaxgd as gd
from jaxgd.rules import RULES, TRANSFORMS, Chain
from jaxgd.schedules import SCHEDULES

RATE = 5e-3


def example(field):
    """A value for a field that has no default, or None for one, from what the field declares."""
    accepts = field.metadata.get("number")
    if accepts.rank and field.metadata["schedule"]:
        return [gd.Constant(0.3), gd.CosineDecay(0.4, steps=30), gd.ExponentialDecay(0.2, 0.9)]
    if accepts.rank:
        return [20, 57] if accepts.whole else [0.3, 0.1, 0.2]
    return 30 if accepts.whole else 0.2 + len(field.name) / 20  # fields of one class differ


def nearby(i):
    """Change a number into the i-th of several different ones in its range."""

    def change(field, value):
        accepts = field.metadata["number"]
        if accepts.rank:
            return [entry + i if accepts.whole else entry * (1 + i / 4) for entry in value]
        if accepts.whole:
            return value + i
        top = accepts.below if accepts.below is not None else accepts.at_most
        return value * (1 + i / 4) + i / 100 if top is None else value + (top - value) * i / 4

    return change


def off_the_ends(field, value):
    """Change a number so near an end of its range that finite differences see only rounding."""
    accepts = field.metadata["number"]
    if accepts.whole or accepts.rank:
        return value
    top = accepts.below if accepts.below is not None else accepts.at_most
    bottom = accepts.above if accepts.above is not None else accepts.at_least
    return max(value if top is None else min(value, 0.95 * top), bottom + 0.01)


def varied(node, change):
    """A rule or schedule with `change(field, value)` for each number, in nested ones too."""
    if isinstance(node, list | tuple):
        return type(node)(varied(item, change) for item in node)
    if not dataclasses.is_dataclass(node):
        return node
    changes = {}
    for field in dataclasses.fields(node):
        value = getattr(node, field.name)
        if field.metadata.get("static") or value is None:
            continue
        many = isinstance(value, list | tuple) and field.metadata.get("schedule")
        nested = "number" not in field.metadata or dataclasses.is_dataclass(value) or many
        changes[field.name] = varied(value, change) if nested else change(field, value)
    return dataclasses.replace(node, **changes)


def with_rate(rule, rate):
    """The rule with another learning rate."""
    return varied(rule, lambda field, value: rate if field.metadata["schedule"] else value)


def variants(cls, required=example):
    """Instances with static flags turned and optional numbers given: none, each, pairs, and all."""
    fields, choices = dataclasses.fields(cls), {}
    for field in fields:
        if field.metadata.get("static"):
            assert isinstance(field.default, bool), f"{cls.__name__}.{field.name}: teach me"
            choices[field.name] = not field.default
        elif field.default is None:
            choices[field.name] = example(field)
    numbers = {f.name: required(f) for f in fields if f.default is dataclasses.MISSING}
    for count in sorted({0, 1, 2, len(choices)}):
        for chosen in itertools.combinations(choices, count):
            changed = {name: choices[name] for name in chosen}
            yield "-".join([cls.__name__, *chosen]), cls(**numbers, **changed)


def _rate_or_example(field):
    return RATE if field.metadata.get("schedule") else example(field)


def _schedule_or_example(field):
    one = field.metadata.get("schedule") and not field.metadata["number"].rank
    return gd.CosineDecay(0.3, steps=40) if one else example(field)


def _rule_cases():
    for cls in RULES.values():
        yield from variants(cls, _rate_or_example)
    plain, stateful, *_ = (next(variants(cls, _rate_or_example)) for cls in RULES.values())
    # Backwards, since no entry is left to clip after the global norm.
    transforms = [next(variants(cls)) for cls in reversed(TRANSFORMS.values())]
    for name, transform in transforms:
        yield f"{name}-{plain[0]}", gd.chain(transform, plain[1])
    yield f"all-{stateful[0]}", gd.chain(*(part for _, part in transforms), stateful[1])
    clipped = gd.chain(transforms[-1][1], stateful[1])
    yield f"accumulated-{stateful[0]}", gd.accumulate(clipped, every=3)
    yield f"averaged-{stateful[0]}", gd.average(stateful[1], decay=0.9)
    yield f"averaged-{plain[0]}", gd.average(plain[1], start=3, every=2)
    nested = gd.accumulate(gd.average(plain[1]), every=2)
    yield f"nested-{plain[0]}", gd.partition({"*": nested})


RULE_CASES = dict(_rule_cases())
SCHEDULE_CASES = {
    name: made for cls in SCHEDULES.values() for name, made in variants(cls, _schedule_or_example)
}


def decaying_rate():
    """A schedule that is neither constant nor so fast that a rule stands still."""
    return gd.ExponentialDecay(2 * RATE, rate=0.5, every=20, floor=RATE / 4)


RATES = {"number": RATE, "schedule": decaying_rate()}


def reference(node):
    """The same rule or schedule in NumPy.

    A rule's numbers are given to it in extended precision, so that the reference is better than
    what it judges: RAdam's rho is the difference of two numbers near 2 / (1 - b2), and with
    1 - b2**t in float64 a relative error of 1e-10 is left of it.
    """
    if isinstance(node, list | tuple):
        return [reference(item) for item in node]
    if isinstance(node, Chain):
        return ReferenceChain(*map(reference, (*node.transforms, node.rule)))
    name = type(node).__name__
    if not dataclasses.is_dataclass(node):
        return node
    given = {f.name: reference(getattr(node, f.name)) for f in dataclasses.fields(node)}
    if name in SCHEDULES:
        return REFERENCE_SCHEDULES[name](**given)
    wide = {key: np.longdouble(v) if type(v) is float else v for key, v in given.items()}
    return (REFERENCE_RULES | REFERENCE_TRANSFORMS | REFERENCE_WRAPPERS)[name](**wide)


def _known(name):
    """Whether this version of XLA has the option."""
    try:
        jax.jit(lambda: 0, compiler_options={name: False}).lower().compile()
    except jax.errors.JaxRuntimeError:
        return False
    return True


QUICK = {"xla_backend_optimization_level": 0}
if _known("xla_cpu_use_fusion_emitters"):
    QUICK["xla_cpu_use_fusion_emitters"] = False
quick_jit = functools.partial(jax.jit, compiler_options=QUICK)
"""For the suite's hundreds of programs, which take longer to compile than to run."""

SHAPE = (24, 40)
"""Of `gradients`: steps and entries."""


def gradients(i=0):
    """A sequence of gradients of random signs, in which each number of a rule matters."""
    return np.random.default_rng(i).normal(size=SHAPE)


def walk(rule, x, grads):
    """The updates that a rule makes of a given sequence of gradients."""

    return walk_to_the_end(rule, x, grads)[1]


def walk_to_the_end(rule, x, grads):
    """The last state of the rule and all updates."""

    def body(carry, g):
        x, state = carry
        updates, state = rule.update(g, state, x)
        return (x + updates, state), updates

    (_, state), updates = jax.lax.scan(body, (x, rule.init(x)), grads)
    return state, updates


def assert_close(actual, desired, rtol, err_msg=""):
    """Agreement relative to the largest entry: entries that cross zero have no relative error."""
    actual, desired = np.asarray(actual), np.asarray(desired)
    assert np.all(np.isfinite(actual)), f"not finite: {err_msg}"
    scale = float(np.max(np.abs(desired), initial=0))
    np.testing.assert_allclose(actual, desired, rtol=0, atol=rtol * scale, err_msg=err_msg)


def assert_trees_close(actual, desired, rtol):
    assert jax.tree.structure(actual) == jax.tree.structure(desired)
    for path, leaf in jax.tree_util.tree_leaves_with_path(actual):
        other = dict(jax.tree_util.tree_leaves_with_path(desired))[path]
        assert_close(leaf, other, rtol, jax.tree_util.keystr(path))


def along_the_floats(function, node):
    """`floats -> function(node with these floats)`, and the floats of `node`, as one vector."""
    leaves, treedef = jax.tree.flatten(node)
    places = [i for i, leaf in enumerate(leaves) if np.asarray(leaf).dtype.kind == "f"]
    start = np.concatenate([np.ravel(leaves[i]) for i in places])
    ends = np.cumsum([np.size(leaves[i]) for i in places])[:-1]

    def value(floats):
        changed = list(leaves)
        for i, part in zip(places, jnp.split(floats, ends), strict=True):
            changed[i] = part.reshape(np.shape(leaves[i]))
        return function(jax.tree.unflatten(treedef, changed))

    return value, start


def central_differences(value, start, relative_step=1e-6):
    """The derivative of `value` in each float, leading axis = float, from one compiled call."""
    size = relative_step * np.maximum(np.abs(start), 1e-2)
    points = np.concatenate([start + np.diag(size), start - np.diag(size)])
    up, down = np.split(np.asarray(quick_jit(jax.vmap(value))(points)), 2)
    return ((up - down).T / (2 * size)).T
