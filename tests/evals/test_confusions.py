"""Which characters are taken for which, by alignments done by hand."""

import numpy as np

from ssljax.evals.confusions import confusions, matrix


def test_replaced_left_out_and_added_characters_are_counted():
  found = confusions(['1234', '13', '1213', ''], ['1734', '123', '123', 'a'])
  assert found == {
    ('1', '1'): 3,
    ('7', '2'): 1,
    ('3', '3'): 3,
    ('4', '4'): 1,
    ('2', ''): 1,
    ('2', '2'): 1,
    ('', '1'): 1,
    ('a', ''): 1,
  }


def test_the_matrix_has_true_rows_and_nothing_last():
  counts, names = matrix(confusions(['ab', 'b'], ['aa', 'bb']))
  assert names == ['a', 'b', '']
  np.testing.assert_array_equal(counts, [[1, 1, 0], [0, 1, 1], [0, 0, 0]])
