"""The recipe of `configs/simclr_ocr.py`, small enough to run in a test.

Epochs are 8 steps in `pretrain` and 4 elsewhere, so every stage but `head`
sees more than one, and checkpoints fall inside and at the end of an epoch.
"""

from configs import simclr_ocr

STEPS = {'pretrain': 12, 'head': 2, 'finetune': 6, 'supervised': 8}


def get_config(arg=None):
  config = simclr_ocr.get_config('smoke')
  counts = {'unlabeled': 64, 'train': 32, 'validation': 16, 'test': 16}
  config.data.counts = counts
  config.encoder.update({'channels': (8, 8), 'width': 16, 'layers': 1})
  config.encoder.heads = 2
  config.projector.width = config.head_width = 16
  config.log_every, config.checkpoint_every = 1, 2
  for name, steps in STEPS.items():
    config[name].steps, config[name].epochs = steps, 0
    config[name].batch_size = 8
    config[name].views.strokes = 0  # the longest part of the compilation
    if name != 'pretrain':
      config[name].data.count = 32
  del config.self_train  # `test_resume.py` has it
  config.supervised.match_compute = ()
  config.recipe, config.product = tuple(STEPS), 'finetune'
  config.rows = (
    ('32 labels', 'SimCLR + head', ('head',)),
    ('32 labels', 'SimCLR + finetune', ('finetune',)),
    ('32 labels', 'supervised', ('supervised',)),
  )
  config.differences = (('SimCLR + finetune', 'supervised'),)
  return config
