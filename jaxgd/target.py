"""What the words of a command stand for: a loss with its start, and an update rule."""

import contextlib
import dataclasses
import importlib.util
import inspect
import sys
import traceback
from collections.abc import Callable, Mapping
from importlib.machinery import SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

import jax

from jaxgd.canonical import canonical_number
from jaxgd.landscapes import LANDSCAPES
from jaxgd.pytree import Number
from jaxgd.rules import RULES
from jaxgd.rules.transforms import ClipByGlobalNorm, ClipByValue, WeightDecay
from jaxgd.schedules.expression import unknown
from jaxgd.tree import PyTree

TRANSFORM_OPTIONS: dict[str, type] = {
    "clip_norm": ClipByGlobalNorm,
    "clip_value": ClipByValue,
    "l2": WeightDecay,
}
"""The options that put a transform before the rule, in the order in which they act."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A loss, and the params from which to descend."""

    loss: Callable[..., Any]
    start: PyTree
    file: Path | None = None
    """The user's file, None for a landscape."""
    key: Any = None
    """The random key for a loss that takes one."""
    box: Any = None
    """Lower and upper bounds between which to draw starts, None where nothing says them."""
    bounds: Any = None
    """Lower and upper bounds that no run leaves, None where there are none."""


def find_target(text: str, dimensions: int | None = None, seed: int = 0) -> Target:
    """The loss and the start that `text` names.

    Args:
      text: the name of a landscape, or `path/to/file.py:name_of_the_loss`. The file is run; its
        `params` are the start, or a function that makes it from a JAX key; its `bounds`, if it has
        any, are those of `minimize`. A loss with a keyword `key` is stochastic.
      dimensions: for a landscape that is defined in any number of them.
      seed: of the keys.

    Raises:
      ValueError: in one line, what is wrong with the text or with the file, and where.

    Example:
      >>> find_target("styblinski_tang", dimensions=3).start
      array([0., 0., 0.])
    """
    named = location_and_name(text)
    if named is None:
        return _landscape(text, dimensions)
    if dimensions is not None:
        raise ValueError("--dimensions is for landscapes; a file says it by the shape of params")
    location, name = named
    if not location or not name.isidentifier():
        raise ValueError(f"TARGET must be a landscape or path/to/file.py:loss, got {text!r}")
    path = Path(location).absolute()
    if not path.is_file():
        raise ValueError(f"{location} is a directory" if path.is_dir() else f"no file {location}")
    module = _run_file(path)
    if not _has(module, name, path):
        theirs = [key for key, value in vars(module).items() if _is_own_function(value, module)]
        there = f"its functions are {', '.join(theirs)}" if theirs else "it defines no function"
        raise ValueError(f"{path.name} has no {name!r}: {there}")
    loss, key = getattr(module, name), jax.random.key(seed)
    # The start has the key itself, the steps those that are folded from another.
    of_loss = jax.random.fold_in(key, 1) if _takes_key(loss) else None
    bounds = module.bounds if _has(module, "bounds", path) else None
    return Target(loss, _start(module, path, key), path, of_loss, bounds, bounds)


def location_and_name(text: str) -> tuple[str, str] | None:
    """The file that `text` names, and the loss in it; None if it names a landscape.

    Example:
      >>> location_and_name("path/to/file.py:loss")
      ('path/to/file.py', 'loss')
    """
    if ":" not in text and not text.endswith(".py") and Path(text).name == text:
        return None
    location, _, name = text.rpartition(":")
    return location, name


def _landscape(text: str, dimensions: int | None) -> Target:
    name = landscape_name(text)
    if name is None:
        hint = "; for a loss of your own write path/to/file.py:loss"
        raise ValueError(unknown("landscape", text, LANDSCAPES) + hint)
    made = LANDSCAPES[name]
    if dimensions is None:
        landscape = made()
    elif takes_dimensions(made):
        landscape = made(dimensions=dimensions)
    else:
        raise ValueError(f"--dimensions: {name} always has {made().dimensions}")
    domain = landscape.domain
    bounds = domain if getattr(landscape, "bounded", False) else None
    return Target(landscape, landscape.start, box=domain, bounds=bounds)


def landscape_name(text: str) -> str | None:
    """The landscape with this name, however it is spelled, None if there is none.

    Example:
      >>> landscape_name("Styblinski_Tang")
      'styblinski-tang'
    """
    return {_folded(name): name for name in LANDSCAPES}.get(_folded(text))


def takes_dimensions(landscape: type[Any]) -> bool:
    """Whether a landscape is defined in any number of dimensions."""
    return any(field.name == "dimensions" for field in dataclasses.fields(landscape))


def _folded(name: str) -> str:
    return name.lower().replace("-", "").replace("_", "")


def _is_own_function(value: Any, module: ModuleType) -> bool:
    return callable(value) and getattr(value, "__module__", None) == module.__name__


def _run_file(path: Path) -> ModuleType:
    """The module that the file makes; it finds its neighbours as `python path` would."""
    # A prefix, since a file named like a library (random.py) must not take the library's place.
    name = f"jaxgd_target_{path.stem}"
    spec = importlib.util.spec_from_loader(name, SourceFileLoader(name, str(path)))
    if spec is None or spec.loader is None:
        raise ValueError(f"{path} cannot be loaded")
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    if str(path.parent) not in sys.path:
        sys.path.insert(0, str(path.parent))
    try:
        spec.loader.exec_module(module)
    except BaseException as error:
        sys.modules.pop(name, None)
        if isinstance(error, KeyboardInterrupt):
            raise
        raise ValueError(blame(error, path)) from error
    return module


def _has(module: ModuleType, name: str, path: Path) -> bool:
    """Whether a module has an attribute; what its own `__getattr__` raises is the file's error."""
    try:
        return hasattr(module, name)
    except Exception as error:
        raise ValueError(blame(error, path)) from error


def _takes_key(loss: Any) -> bool:
    try:
        return "key" in inspect.signature(loss).parameters
    except (TypeError, ValueError):
        return False


def _start(module: ModuleType, path: Path, key: jax.Array) -> PyTree:
    if not _has(module, "params", path):
        raise ValueError(
            f"{path.name} has no params: define the start, params = ..., or a function of a JAX "
            "key, def params(key): ..."
        )
    start = module.params
    # A model that is both callable and a pytree is a value: only a leaf can be a function of a key.
    if not callable(start) or jax.tree.leaves(start) != [start]:
        return start
    try:
        return start(key)
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        raise ValueError(f"params(key) of {blame(error, path)}") from error


def blame(error: BaseException, path: Path) -> str:
    """An error of the user's code in one line: the file, the line in it, and what happened."""
    lines = _lines(error, path)
    if isinstance(error, SyntaxError) and error.filename == str(path):
        lines.append(error.lineno)
    place = f"{path.name}, line {lines[-1]}" if lines else path.name
    with contextlib.suppress(Exception):  # its __str__ is the user's too
        said = first_paragraph(error.msg if isinstance(error, SyntaxError) else str(error))
        return f"{place}: {type(error).__name__}" + (f": {said}" if said else "")
    return f"{place}: {type(error).__name__}"


def is_by(error: BaseException, path: Path) -> bool:
    """Whether the error came out of the code in the file."""
    return bool(_lines(error, path))


def _lines(error: BaseException, path: Path) -> list[int | None]:
    """The lines of the file on the way to the error, the innermost last."""
    frames = traceback.extract_tb(error.__traceback__)
    return [frame.lineno for frame in frames if frame.filename == str(path)]


def first_paragraph(text: str) -> str:
    """The first paragraph of `text` as one line."""
    return " ".join(text.strip().split("\n\n")[0].split())


def option(name: str) -> str:
    """How the command line spells a field's name.

    Example:
      >>> option("weight_decay")
      '--weight-decay'
    """
    return "--" + name.replace("_", "-")


def rule_class(text: str) -> type:
    """The update rule with this name, however it is spelled.

    Example:
      >>> rule_class("gradient-descent").__name__
      'GradientDescent'
    """
    name = {_folded(name): name for name in RULES}.get(_folded(text))
    if name is None:
        raise ValueError(f"--rule: {unknown('rule', text, RULES)}")
    return RULES[name]


def options_of(rule: type) -> dict[str, dataclasses.Field[Any]]:
    """The fields of a rule that have an option of their own: all but the learning rate."""
    return {
        field.name: field for field in dataclasses.fields(rule) if field.name != "learning_rate"
    }


def build_rule(
    name: str, rate: Any, given: Mapping[str, Any], transforms: Mapping[str, float]
) -> tuple[Any, tuple[Any, ...]]:
    """The rule that the options describe, and the transforms before it.

    Args:
      name: of the rule.
      rate: the learning rate or a schedule.
      given: values of the rule's other fields, by name.
      transforms: numbers of the transforms, by their key in TRANSFORM_OPTIONS.

    Raises:
      ValueError, TypeError: the rule has no such option, or a number is out of its range.

    Example:
      >>> build_rule("momentum", 0.1, {"decay": 0.5}, {"clip_norm": 1.0})
      (Momentum(learning_rate=0.1, decay=0.5, nesterov=False), (ClipByGlobalNorm(max_norm=1.0),))
    """
    kind = rule_class(name)
    fields = options_of(kind)
    for key in given:
        if key not in fields:
            its = (
                f"its options are {', '.join(map(option, fields))}"
                if fields
                else "it has none of its own"
            )
            raise ValueError(f"{kind.__name__} has no {option(key)}: {its}")
        checked_number(key, given[key], fields[key])
    before = []
    for key, transform in TRANSFORM_OPTIONS.items():
        if key in transforms:
            (field,) = dataclasses.fields(transform)
            before.append(transform(checked_number(key, transforms[key], field)))
    if not callable(rate):
        (field,) = [f for f in dataclasses.fields(kind) if f.name == "learning_rate"]
        checked_number("learning_rate", rate, field)
    return kind(rate, **given), tuple(before)


def checked_number(key: str, value: Any, field: dataclasses.Field[Any]) -> Any:
    """`value`, an int if it counts something; an error in the command line's words if it is bad."""
    accepts: Number | None = field.metadata.get("number")
    if accepts is None:
        return value
    canonical_number(value, accepts, option(key))
    return int(value) if accepts.whole else value
