import contextlib
import os

import jax
import pytest

ASSUMED = {
    "float32": [lambda: jax.enable_x64(False)],
    "promotion": [
        lambda: jax.numpy_dtype_promotion("standard"),
        lambda: jax.numpy_rank_promotion("allow"),
    ],
}
"""What a test may assume of JAX's settings, whatever they are while the tests run."""


def pytest_configure(config):
    config.addinivalue_line("markers", "float32: floats are float32 where nobody says otherwise")
    config.addinivalue_line(
        "markers", "promotion: its own code leaves dtypes and ranks to JAX to promote"
    )


@pytest.fixture(autouse=True)
def what_is_assumed(request):
    """A test's settings where it is marked; else those that the tests were started with."""
    with contextlib.ExitStack() as stack:
        for name, settings in ASSUMED.items():
            for setting in settings if request.node.get_closest_marker(name) else ():
                stack.enter_context(setting())
        yield


@pytest.fixture(autouse=True, scope="session")
def a_cache_of_their_own(tmp_path_factory):
    """The command line keeps compiled programs on disk: not on that of whoever runs the tests."""
    os.environ["XDG_CACHE_HOME"] = str(tmp_path_factory.mktemp("cache"))
