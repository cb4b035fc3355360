"""Lab against published values, and the bins against a slow reference."""

import jax.numpy as jnp
import numpy as np
import pytest

from ssljax.augment import lab

# sRGB -> L, a, b under D65, as colour calculators give them.
KNOWN = {
  (1.0, 1.0, 1.0): (100.0, 0.0, 0.0),
  (0.0, 0.0, 0.0): (0.0, 0.0, 0.0),
  (1.0, 0.0, 0.0): (53.24, 80.09, 67.20),
  (0.0, 1.0, 0.0): (87.73, -86.18, 83.18),
  (0.0, 0.0, 1.0): (32.30, 79.19, -107.86),
  (0.5, 0.5, 0.5): (53.39, 0.0, 0.0),
}


@pytest.mark.parametrize('rgb', KNOWN)
def test_known_colours(rgb):
  np.testing.assert_allclose(lab.to_lab(jnp.array(rgb)), KNOWN[rgb], atol=0.05)


def test_there_and_back():
  rgb = np.random.default_rng(0).random((500, 3)).astype(np.float32)
  np.testing.assert_allclose(lab.to_rgb(lab.to_lab(rgb)), rgb, atol=2e-3)


def test_the_bins():
  bins = lab.bins()
  assert bins.shape == (313, 2)
  assert len(np.unique(bins, axis=0)) == 313
  assert (bins % 10 == 0).all()
  # Whatever can be displayed falls into one of them.
  rgb = np.random.default_rng(0).random((20_000, 3))
  chroma = np.asarray(lab.to_lab(rgb))[:, 1:]
  nearest = np.unique(10 * np.round(chroma / 10), axis=0)
  assert {tuple(x) for x in nearest} <= {tuple(x) for x in bins}


def test_soft_codes_against_a_loop():
  rgb = np.random.default_rng(0).random((40, 3))
  chroma = np.asarray(lab.to_lab(rgb), np.float64)[:, 1:]
  bins, expected = lab.bins().astype(np.float64), np.zeros((40, 313))
  for row, colour in zip(expected, chroma, strict=True):
    squares = ((bins - colour) ** 2).sum(axis=1)
    for place in np.argsort(squares)[:5]:
      row[place] = np.exp(-squares[place] / (2 * 5**2))
    row /= row.sum()
  found = lab.soft_encode(jnp.asarray(chroma, jnp.float32))
  np.testing.assert_allclose(found, expected, atol=1e-3)


def test_decoding_lies_between_the_mode_and_the_mean():
  shares = np.full(313, 1e-9)
  shares[[10, 200]] = 0.7, 0.3
  logits, bins = jnp.log(shares), lab.bins()
  mean = 0.7 * bins[10] + 0.3 * bins[200]
  np.testing.assert_allclose(
    lab.annealed_mean(logits, temperature=1.0), mean, atol=1e-2
  )
  np.testing.assert_allclose(
    lab.annealed_mean(logits, temperature=0.01), bins[10], atol=1e-2
  )
  np.testing.assert_allclose(lab.top_mean(logits, count=1), bins[10], atol=1e-3)
  np.testing.assert_allclose(lab.top_mean(logits, count=2), mean, atol=1e-2)
