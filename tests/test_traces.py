"""Ten steps of every kind of stage on text: see `traces.py`."""

import pytest
import traces

GOLDEN, RECIPES = traces.golden(image=False)


def test_every_kind_has_a_trace():
  assert traces.kinds_of(RECIPES) == set(GOLDEN)


@pytest.mark.slow
@pytest.mark.parametrize('recipe', RECIPES, ids=lambda recipe: recipe[0])
def test_a_trace(recipe, tmp_path_factory):
  data_dir = tmp_path_factory.getbasetemp() / 'data'  # rendered once
  traces.compare(recipe, GOLDEN, str(data_dir))
