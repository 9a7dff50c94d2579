"""What the README says is so: its Python runs, its tables are the registries'."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from readme_tables import README, with_tables

import jaxgd as gd

# Written for those who have changed none of JAX's settings.
pytestmark = [pytest.mark.float32, pytest.mark.promotion]


def blocks():
    return re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL)


def test_the_first_example_runs_and_finds_the_line():
    names = {}
    exec(blocks()[0], names)
    assert names["result"].converged
    np.testing.assert_allclose(names["result"].params["slope"], 2, atol=1e-2)
    np.testing.assert_allclose(names["result"].params["intercept"], 0, atol=3e-2)


def test_every_other_example_runs_after_it(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # some write pictures
    names = {}
    for block in blocks():
        exec(block, names)
    assert len(blocks()) >= 4


def lines_of(block):
    return [line for line in block.splitlines() if line.strip()]


def test_the_picture_of_the_api_is_15_lines():
    assert len(lines_of(blocks()[0])) <= 15


def test_the_rule_of_ones_own_is_15_lines_and_descends():
    (block,) = [block for block in blocks() if "@gd.pytree" in block]
    assert len(lines_of(block)) <= 15
    names = {"gd": gd, "jax": jax, "jnp": jnp}
    exec(block, names)


def test_the_tables_are_those_of_the_registries():
    assert with_tables(README.read_text()) == README.read_text(), (
        "run python tests/readme_tables.py"
    )
