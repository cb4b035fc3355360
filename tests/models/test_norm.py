"""Split BatchNorm, which MoCo rests on, and the other options."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, PartitionSpec

from ssljax.errors import UserError
from ssljax.models.norm import BatchNorm

ROWS, D, GROUPS = 16, 3, 8


def _rows(*shape, seed=0):
  rng = np.random.default_rng(seed)
  return (3 + 2 * rng.normal(size=shape)).astype(np.float32)


def _apply(x, mask=None, *, devices=1, **options):
  """Outputs and running statistics in train mode, over devices or not."""
  norm = BatchNorm(axis_name='d' if devices > 1 else None, **options)
  variables = BatchNorm(**options).init(jax.random.key(0), x, train=False)
  call = functools.partial(norm.apply, train=True, mutable=['batch_stats'])
  if devices == 1:
    return call(variables, x, mask=mask)
  mesh = Mesh(jax.devices()[:devices], ('d',), axis_types=(AxisType.Auto,))
  rows, whole = PartitionSpec('d'), PartitionSpec()
  mapped = jax.shard_map(
    lambda variables, x, mask: call(variables, x, mask=mask),
    mesh=mesh,
    in_specs=(whole, rows, rows),
    out_specs=(rows, whole),
    check_vma=False,
  )
  mask = jnp.ones(x.shape[:-1], bool) if mask is None else mask
  return jax.jit(mapped)(variables, x, mask)


@pytest.mark.parametrize('shape', [(ROWS, D), (ROWS, 4, D), (ROWS, 2, 2, D)])
def test_each_group_has_statistics_of_its_own(shape):
  x = _rows(*shape)
  found, state = _apply(x, groups=GROUPS, epsilon=1e-5, momentum=0.9)
  parts = np.split(x.astype(np.float64), GROUPS)
  axes = tuple(range(len(shape) - 1))
  expected = [
    (part - part.mean(axes)) / np.sqrt(part.var(axes) + 1e-5) for part in parts
  ]
  np.testing.assert_allclose(found, np.concatenate(expected), atol=1e-4)
  running = state['batch_stats']
  mean = np.mean([part.mean(axes) for part in parts], axis=0)
  var = np.mean([part.var(axes) for part in parts], axis=0)
  np.testing.assert_allclose(running['mean'], 0.1 * mean, atol=1e-5)
  np.testing.assert_allclose(running['var'], 0.9 + 0.1 * var, atol=1e-5)


@pytest.mark.parametrize('groups', [0, GROUPS])
@pytest.mark.parametrize('masked', [False, True])
def test_devices_do_not_change_it(groups, masked):
  """The groups are a constant of the config (rule 8)."""
  x = _rows(ROWS, 4, D)
  mask = None
  if masked:
    mask = np.random.default_rng(1).random((ROWS, 4)) < 0.6
    mask[:2] = False  # the first group shows nothing
  one = _apply(x, mask, groups=groups)
  for devices in (2, 8):
    several = _apply(x, mask, devices=devices, groups=groups)
    for a, b in zip(
      jax.tree.leaves(several), jax.tree.leaves(one), strict=True
    ):
      assert np.isfinite(a).all()
      np.testing.assert_allclose(a, b, atol=1e-5)


def test_padding_has_no_part_in_a_group():
  x, other = _rows(ROWS, 4, D), _rows(ROWS, 4, D, seed=5)
  mask = np.zeros((ROWS, 4), bool)
  mask[:, :3] = True
  padded = np.where(mask[..., None], x, 1000 * other)
  found, _ = _apply(padded, mask, groups=GROUPS)
  expected, _ = _apply(x[:, :3], groups=GROUPS)
  np.testing.assert_allclose(found[:, :3], expected, atol=1e-4)


@pytest.mark.parametrize(
  ('rows', 'devices', 'groups'), [(ROWS, 8, 4), (ROWS, 1, 5)]
)
def test_groups_that_cannot_be_are_refused(rows, devices, groups):
  with pytest.raises(UserError, match=r'groups of BatchNorm .* Change'):
    _apply(_rows(rows, D), devices=devices, groups=groups)


def test_plain_learns_nothing_and_a_residual_branch_starts_at_zero():
  x = _rows(ROWS, D)
  plain = BatchNorm(affine=False).init(jax.random.key(0), x, train=True)
  assert 'params' not in plain
  found, _ = _apply(x, scale_init=0.0)
  np.testing.assert_array_equal(found, 0)


def test_bfloat16_goes_in_and_out_and_statistics_do_not():
  x = jnp.asarray(1000 + _rows(64, D), jnp.bfloat16)
  found, state = _apply(x, dtype=jnp.bfloat16)
  assert found.dtype == jnp.bfloat16
  assert {leaf.dtype for leaf in jax.tree.leaves(state)} == {
    jnp.dtype('float32')
  }
  exact = x.astype(jnp.float32)
  np.testing.assert_allclose(
    state['batch_stats']['mean'], 0.01 * exact.mean(0), rtol=1e-5
  )


def test_inference_uses_what_was_kept_and_keeps_it():
  x = _rows(ROWS, D)
  norm = BatchNorm(groups=GROUPS)
  _, state = _apply(x, groups=GROUPS)
  variables = norm.init(jax.random.key(0), x, train=False) | state
  found, after = norm.apply(variables, x, train=False, mutable=['batch_stats'])
  running = state['batch_stats']
  expected = (x - running['mean']) / np.sqrt(running['var'] + 1e-3)
  np.testing.assert_allclose(found, expected, atol=1e-5)
  for a, b in zip(jax.tree.leaves(after), jax.tree.leaves(state), strict=True):
    np.testing.assert_array_equal(a, b)
