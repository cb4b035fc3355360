"""The task of reading text: what a step reads, and which labels it can."""

import functools

import making
import numpy as np
import pytest
import tiny_ocr

from ssljax import build, tasks
from ssljax.errors import UserError

CONFIG = tiny_ocr.get_config()


def _check(config, source):
  tasks.make(config).check(source, build.encoder(config))


def test_labels_that_cannot_be_read_are_refused():
  check = functools.partial(_check, CONFIG)
  check(making.text_source(['1234', '111111']))
  with pytest.raises(UserError, match=r"'12x4' has 'x'.*correct the label"):
    check(making.text_source(['1234', '12x4']))
  with pytest.raises(UserError, match='has 7 characters, expected at most 6'):
    check(making.text_source(['1234567']))
  narrow = tiny_ocr.get_config()
  narrow.data.width = 28
  check = functools.partial(_check, narrow)
  assert making.frames(narrow) == 7
  check(making.text_source(['123456', '112345', '1234'], width=28))
  # Six characters fit in seven frames, but not with two blanks between.
  with pytest.raises(UserError, match=r"'112245' of example 1.* 8 frames"):
    check(making.text_source(['123456', '112245'], width=28))
  # What counts is the image, not the frame that it is padded to.
  source = making.text_source(['1234', '1234'])
  source.columns['width'] = np.array([16, 12], np.int32)
  with pytest.raises(UserError, match=r'example 1.* 12 pixels wide gives 3'):
    check(source)


def test_a_batch_as_the_step_reads_it():
  source = making.text_source(['1234', '111111'])
  batch = tasks.make(CONFIG).arrays(source.gather([0, 1]))
  assert set(batch) == {'image', 'index', 'label'}
  assert batch['image'].dtype == np.uint8
  np.testing.assert_array_equal(
    batch['label'], [[2, 3, 4, 5, 0, 0], [2, 2, 2, 2, 2, 2]]
  )
