"""Bad input in tests: that it is refused early, in one line that names it."""

from unittest import mock

import jax
import pytest


def refused(call, *words, error=(TypeError, ValueError)):
    """The message, which has these words, of an error raised before anything was compiled."""
    with (
        mock.patch.object(jax.stages.Lowered, "compile") as compiling,
        pytest.raises(error) as caught,
    ):
        call()
    assert caught.type in (TypeError, ValueError)
    said = str(caught.value)
    assert "\n" not in said
    for word in words:
        assert word in said
    assert not compiling.called
    return said


def table(cases):
    """Test parameters from rows of (name, what is given, the words of the error)."""
    return [pytest.param(g, words, id=name.split(" at 0x")[0]) for name, g, *words in cases]
