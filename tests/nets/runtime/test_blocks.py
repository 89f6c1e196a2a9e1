"""The size of a block is a power of 2 within its limits, and networks go into blocks and out again."""

import types

import numpy as np
import pytest

import eft
from nets.network.architecture import Architecture
from nets.runtime import blocks
from nets.training.program import block_size


@pytest.mark.parametrize(
    "limits", [*blocks.DRAWN.values(), *blocks.SAMPLED.values(), *blocks.TRAINED.values()]
)
def test_a_power_of_two_within_the_limits(limits):
    """Twice as many networks would exceed a limit; more than `least` do not."""
    for numbers in (1, 2, 3, 5, 64, 100, 12_345, 2**40):
        size = blocks.size(limits, numbers)
        assert size & (size - 1) == 0
        assert size == limits.least or (size <= limits.networks and size * numbers <= limits.numbers)
        assert 2 * size > limits.networks or 2 * size * numbers > limits.numbers


@pytest.mark.parametrize(
    ("n_nets", "preactivations", "devices", "expected"),
    [
        (25, 10, 1, 25),  # all of them, though 1024 would do
        (1025, 10, 1, 513),  # two blocks, not one of 1024 and one of 1
        (3000, 10, 1, 1000),
        (3000, 10, 2, 750),
        (25, blocks.ACTIVATIONS // 10, 1, 9),  # ten would do, in three blocks
        (25, 2 * blocks.ACTIVATIONS, 1, 1),  # a network that is too large alone is tried alone
    ],
)
def test_an_accelerator_trains_even_blocks(n_nets, preactivations, devices, expected):
    """Blocks differ by less than a network each, within the limits; the control: a power of 2 is not even."""
    limits = blocks.Limits(1024, 2**27)
    size = blocks.even(limits, n_nets, 1000, preactivations, devices)
    assert size == expected
    rounds = blocks.count(n_nets, size, devices) // devices
    assert rounds * size * devices - n_nets < rounds * devices
    unlike = blocks.size(limits, 1000)
    assert blocks.count(n_nets, unlike) * unlike - n_nets >= rounds * devices


def test_the_block_of_a_training_ensemble_depends_on_it_on_accelerators_alone():
    """25 networks of width 32: 25 there, and 32 on a CPU, as of any number."""
    architecture = Architecture(eft.activation("tanh"), (2, *[32] * 5, 1))
    sizes = {}
    for platform in ("cpu", "gpu"):
        device = np.array([types.SimpleNamespace(platform=platform)])
        mesh = types.SimpleNamespace(devices=device, size=1)
        sizes[platform] = [block_size(architecture, n, 100, mesh) for n in (25, 3000)]
    assert sizes == {"cpu": [32, 32], "gpu": [25, 1000]}


def test_sampled_inputs_share_a_block():
    """128 networks at one input, half as many for each doubling of the inputs."""
    for inputs in range(1, 65):
        assert blocks.size(blocks.SAMPLED[False], inputs) == 128 >> (inputs - 1).bit_length()


@pytest.mark.parametrize(("n_nets", "devices", "count"), [(1, 1, 1), (8, 1, 2), (9, 2, 4), (17, 4, 8)])
def test_into_blocks_and_out_again(n_nets, devices, count):
    """Blocks are as many on each device; the last network fills what is left."""
    each = {"a": np.arange(n_nets), "b": np.arange(2.0 * n_nets).reshape(n_nets, 2)}
    assert blocks.count(n_nets, 4, devices) == count
    arranged = blocks.arranged(each, 4, count)
    assert arranged["b"].shape == (count, 4, 2) and arranged["a"].ravel()[-1] == n_nets - 1
    for name, array in blocks.flat(arranged, n_nets).items():
        np.testing.assert_array_equal(array, each[name])
