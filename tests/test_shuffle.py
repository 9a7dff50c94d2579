"""The shuffle: a permutation for every key, and each one about as often as any other."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxgd.shuffle import ROUNDS, reordered, shuffled, shuffled_on_host


def words(seed):
    return np.random.default_rng(seed).integers(0, 2**32, ROUNDS, dtype=np.uint32)


def orders(count, many):
    """The permutations of `many` epochs, (many, count)."""
    base = reordered(words(7), np.arange(many, dtype=np.uint32)[:, None])
    positions = np.broadcast_to(np.arange(count, dtype=np.uint32), (many, count))
    return shuffled_on_host(positions, base, count)


@settings(deadline=None, derandomize=True, max_examples=200)
@given(count=st.integers(1, 3000), seed=st.integers(0, 2**32 - 1))
def test_every_example_comes_once(count, seed):
    index = shuffled_on_host(np.arange(count, dtype=np.uint32), words(seed), count)
    assert sorted(index) == list(range(count))


@pytest.mark.parametrize("count", [1, 2, 9, 1797, 65536, 2**31 - 1])
def test_the_device_takes_the_same_ones_as_the_host(count):
    positions = np.unique(np.linspace(0, count - 1, 50).astype(np.uint32))
    on_host = shuffled_on_host(positions, words(1), count)
    on_device = shuffled(jnp.asarray(positions), jnp.asarray(words(1)), count)
    np.testing.assert_array_equal(on_device, on_host)
    assert on_host.max() < count
    assert len(set(on_host.tolist())) == len(positions)


def chi_square(counts, expected):
    return np.sum((counts - expected) ** 2 / expected)


@pytest.mark.parametrize("count", [2, 3, 4, 5, 6])
def test_all_permutations_of_a_few_examples_are_about_as_frequent(count):
    """Chi-square against uniform: 6 standard deviations are allowed, and no permutation misses."""
    many = 20_000
    _, frequency = np.unique(orders(count, many), axis=0, return_counts=True)
    freedom = np.prod(np.arange(1, count + 1)) - 1
    assert len(frequency) == freedom + 1
    assert chi_square(frequency, many / (freedom + 1)) < freedom + 6 * np.sqrt(2 * freedom)


@pytest.mark.parametrize("count", [9, 16, 50, 260])
def test_every_example_comes_about_as_often_at_every_position(count):
    many = 5_000
    drawn = orders(count, many)
    table = np.zeros((count, count))
    np.add.at(table, (np.broadcast_to(np.arange(count), drawn.shape), drawn), 1)
    freedom = (count - 1) ** 2
    assert chi_square(table, many / count) < freedom + 6 * np.sqrt(2 * freedom)


def test_neighbours_do_not_stay_together():
    """How often example i is followed by i + 1: once in an epoch on average, as by chance."""
    drawn = orders(200, 1_000)
    together = np.sum(np.diff(drawn, axis=1) == 1, axis=1)
    assert abs(together.mean() - 199 / 200) < 6 / np.sqrt(1_000)
    assert abs(together.var() - 1) < 0.3


def test_epochs_and_runs_have_orders_that_are_not_alike():
    """Of a random permutation one example is at its place on average, whatever the number."""
    drawn = orders(500, 200)
    fixed = [np.sum(a == b) for a, b in itertools.pairwise(drawn)]
    assert abs(np.mean(fixed) - 1) < 6 / np.sqrt(len(fixed))


def test_it_is_vmapped_over_orders():
    order = jnp.stack([jnp.asarray(words(i)) for i in range(3)])
    positions = jnp.arange(10, dtype=jnp.uint32)
    together = jax.vmap(lambda o: shuffled(positions, o, 10))(order)
    for i in range(3):
        np.testing.assert_array_equal(
            together[i], shuffled_on_host(np.arange(10, dtype=np.uint32), words(i), 10)
        )
