"""What the tests of checkpoints share: runs that break off, and what lies in a directory."""

import contextlib
import re
import warnings

import numpy as np
import pytest
from kept_jobs import arrays_of

from jaxgd.archive import read


class BrokenOff(BaseException):
    """In the place of what ends a process: an Exception would have a last checkpoint made."""


def break_off(run, step):
    """Have a run end by an exception at a step or soon after: without a last checkpoint."""

    def callback(outcome):
        if np.max(outcome.steps) >= step:
            raise BrokenOff

    with pytest.raises(BrokenOff):
        run(callback=callback)


def files(directory):
    name = re.compile("checkpoint-[0-9]{6}-[0-9a-f]{16}.npz")
    return sorted(path for path in directory.iterdir() if name.fullmatch(path.name))


def steps_in(directory):
    """The steps at which the checkpoints were made that lie there."""
    return [read(path)[0]["step"] for path in files(directory)]


def differences(outcome, other, without=()):
    """What differs by a bit, by name."""
    a, b = arrays_of(outcome), arrays_of(other)
    names = [name for name in {**a, **b} if not name.startswith(tuple(without))]
    return [name for name in names if not (name in a and name in b and _same(a[name], b[name]))]


def _same(a, b):
    return (a.dtype, a.shape, a.tobytes()) == (b.dtype, b.shape, b.tobytes())


@contextlib.contextmanager
def saying(*patterns):
    """Expect so many warnings, one for each pattern and in that order."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        yield
    said = [str(warning.message) for warning in caught]
    assert len(said) == len(patterns), said
    for pattern, message in zip(patterns, said, strict=True):
        assert re.search(pattern, message), message
