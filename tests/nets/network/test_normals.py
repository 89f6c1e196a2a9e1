"""Standard normals: the bits are Threefry's, the numbers are what Box and Muller make of them, and they
are the same numbers whatever JAX's precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from nets.network.normals import box_muller, standard_normal, threefry_2x32

KNOWN_ANSWERS = [  # key, counter, output: the Random123 distribution's own table
    ((0, 0), (0, 0), (0x6B200159, 0x99BA4EFE)),
    ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
    ((0x13198A2E, 0x03707344), (0x243F6A88, 0x85A308D3), (0xC4923A9C, 0x483DF7A0)),
]


@pytest.mark.parametrize(("key", "counter", "output"), KNOWN_ANSWERS)
def test_threefry_gives_the_known_answers(key, counter, output):
    words = threefry_2x32(jnp.array(key, jnp.uint32), *jnp.array(counter, jnp.uint32))
    assert tuple(map(int, words)) == output


def test_the_bits_are_those_of_jax():
    key = jax.random.key(5, impl="threefry2x32")
    count = jnp.arange(1000, dtype=jnp.uint32)
    a, b = threefry_2x32(jax.random.key_data(key), jnp.zeros_like(count), count)
    np.testing.assert_array_equal(a ^ b, jax.random.bits(key, (1000,), jnp.uint32))


def test_box_muller_against_float64():
    rng = np.random.default_rng(0)
    a, b = rng.integers(0, 2**32, (2, 100_000), dtype=np.uint32)
    a[:3], b[:3] = (0, 2**32 - 1, 1), (0, 2**32 - 1, 2**31)
    x, y = (np.asarray(n, float) for n in box_muller(jnp.asarray(a), jnp.asarray(b)))
    r = np.sqrt(-2 * np.log((a // 2 + 0.5) / 2**31))
    theta = (b << np.uint32(2)).view(np.int32) * (np.pi / 2**33)
    cos, sin = np.cos(theta), np.sin(theta)
    reflected, sign = (b >> 30) & 1 == 1, np.where(b >> 31, -1, 1)
    far = r > 0.01  # nearer to 0 float32 knows log u less well than that
    np.testing.assert_allclose(x[far], (sign * r * np.where(reflected, sin, cos))[far], rtol=0, atol=3e-6)
    np.testing.assert_allclose(y[far], (sign * r * np.where(reflected, cos, sin))[far], rtol=0, atol=3e-6)
    assert max(abs(x).max(), abs(y).max()) < 6.7


def test_distribution():
    z = np.asarray(standard_normal(jax.random.key(1), (1000, 1001)), float).ravel()
    N = z.size
    for power, moment, variance in ((1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10395 - 225)):
        assert abs((z**power).mean() - moment) < 4 * np.sqrt(variance / N)
    assert stats.kstest(z, "norm").pvalue > 1e-3
    half = (N + 1) // 2  # the two of a pair
    assert abs((z[: N - half] * z[half:]).mean()) < 4 / np.sqrt(half)
    assert abs((z[: N - half] ** 2 * z[half:] ** 2).mean() - 1) < 4 * np.sqrt(8 / half)


def test_negative_control_a_truncated_normal_is_told_apart():
    z = np.asarray(jax.random.truncated_normal(jax.random.key(1), -2, 2, (10**5,)), float)
    z = z / z.std()
    assert abs((z**4).mean() - 3) > 20 * np.sqrt(96 / z.size)


@pytest.mark.parametrize("shape", [(), (1,), (7,), (3, 5), (0,)])
def test_shape_and_dtype(shape):
    z = standard_normal(jax.random.key(0), shape)
    assert z.shape == shape and z.dtype == jnp.float32


def test_same_numbers_whatever_the_precision():
    found = []
    for x64 in (True, False):
        with jax.enable_x64(x64):
            found.append(np.asarray(standard_normal(jax.random.key(3), (11, 13))))
    np.testing.assert_array_equal(*found)


def test_keys_of_another_generator():
    key = jax.random.key(0, impl="rbg")
    assert np.isfinite(standard_normal(key, (4,))).all()
