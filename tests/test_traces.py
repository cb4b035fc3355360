"""Ten steps of every kind of stage are what they were; see `traces.py`."""

import json
import pathlib

import numpy as np
import pytest
import traces

GOLDEN = json.loads((pathlib.Path(__file__).parent / 'traces.json').read_text())
# What another processor, or another version of XLA, may round otherwise. A
# wrong factor, sign, view or order changes the first loss or the first gradient
# by more; later steps amplify rounding.
TOLERANCE = 2e-3
RECIPES = list(traces.recipes())


@pytest.fixture(scope='module')
def data_dir(tmp_path_factory):
  return str(tmp_path_factory.mktemp('data'))


def test_every_kind_has_a_trace():
  kinds = {f'{name} {kind}' for name, _, kinds in RECIPES for kind in kinds}
  assert kinds == set(GOLDEN)


@pytest.mark.slow
@pytest.mark.parametrize(
  ('name', 'config', 'kinds'), RECIPES, ids=[name for name, _, _ in RECIPES]
)
def test_a_trace(name, config, kinds, data_dir):
  for key, found in traces.record(name, config, kinds, data_dir).items():
    for figure in ('loss', 'gradient_norm'):
      np.testing.assert_allclose(
        found[figure], GOLDEN[key][figure], rtol=TOLERANCE, atol=1e-5
      )
