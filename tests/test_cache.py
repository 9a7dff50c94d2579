"""Compiled programs on disk."""

import functools
import pathlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import jaxgd as gd

OPTIONS = (
    "jax_compilation_cache_dir",
    "jax_persistent_cache_min_compile_time_secs",
    "jax_persistent_cache_min_entry_size_bytes",
)


@pytest.fixture
def options_restored():
    before = {name: getattr(jax.config, name) for name in OPTIONS}
    yield
    for name, value in before.items():
        jax.config.update(name, value)
    jax.experimental.compilation_cache.compilation_cache.reset_cache()


def bowl(x):
    return jnp.sum(jnp.cosh(x))


def test_a_program_is_found_again(tmp_path, options_restored):
    jax.experimental.compilation_cache.compilation_cache.reset_cache()
    assert gd.cache_programs(tmp_path / "programs") == tmp_path / "programs"

    def names():
        return {path.name for path in (tmp_path / "programs").iterdir() if "cache" in path.name}

    def call():
        fresh = functools.partial(bowl)  # of which no program is in memory
        one = gd.minimize(fresh, np.ones(3, np.float32), gd.Adam(0.1), 9)
        many = gd.multistart(fresh, np.ones((2, 3), np.float32), gd.Adam(0.1), 9)
        return one.loss, *many.loss

    first, made = call(), names()
    assert len({name.split("-")[0] for name in made} & {"jit_run", "jit_advance"}) == 2
    assert call() == first
    assert names() == made


def test_the_folder_of_the_user_is_the_default(monkeypatch, tmp_path, options_restored):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    path = gd.cache_programs()
    assert path.is_relative_to(pathlib.Path(tmp_path))
    assert str(path) == jax.config.jax_compilation_cache_dir
    assert gd.cache_programs() == path


def test_a_directory_must_be_a_path():
    with pytest.raises(TypeError, match="directory must be a path or None, got 3"):
        gd.cache_programs(3)
