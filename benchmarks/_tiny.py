"""Recipes that train in seconds, one a kind of state: `_tiny.py:NAME`.

Epochs are of 8 steps. A checkpoint is due every 5 steps and a line of the log
every 4, so that neither falls together with the other.
"""

from configs import deepcluster_ocr, moco_ocr, pretext_ocr, simclr_ocr, swav_ocr

STEPS = 16
MADE = {
  'simclr': simclr_ocr.get_config,
  'moco': moco_ocr.get_config,
  'swav': swav_ocr.get_config,
  'deepcluster': deepcluster_ocr.get_config,
  'pix2pix': lambda scale: pretext_ocr.get_config(f'{scale},task=pix2pix'),
  'self_training': simclr_ocr.get_config,
}
SMALL = {
  'queue_steps': 3,
  'clusters': 6,
  'prototypes': 8,
}


def get_config(name='simclr'):
  config = MADE[name]('smoke')
  if name == 'self_training':
    config.pretrain = config.self_train
    config.pretrain.take = {}
    config.pretrain.data.update(count=3, labelled=4)
  counts = {'unlabeled': 64, 'train': 32, 'validation': 16, 'test': 16}
  config.data.counts = counts
  config.encoder.update({'channels': (8, 8), 'width': 16, 'layers': 1})
  config.encoder.heads = 2
  config.projector.width = config.head_width = 16
  config.pretrain.steps, config.pretrain.epochs = STEPS, 0
  config.pretrain.batch_size = 8
  config.mapping = 'jit'
  config.checkpoint_every, config.log_every = 5, 4
  method = config.pretrain.method
  for option, value in SMALL.items():
    if option in method:
      method[option] = value
  if name == 'pix2pix':
    method.update(decoder={'width': 4}, critic={'widths': (4, 4)})
  stages = ['pretrain']
  if name == 'simclr':  # a whole recipe, with an evaluation and a report
    stages.append('head')
    config.head.steps, config.head.epochs, config.head.batch_size = 6, 0, 8
    config.head.data.count = 32
  for stage in ('head', 'finetune', 'supervised', 'self_train'):
    if stage not in stages and stage in config:
      del config[stage]
  for stage in stages:
    if 'strokes' in config[stage].views:
      config[stage].views.strokes = 0  # the longest part of the compilation
  config.recipe, config.differences = tuple(stages), ()
  config.rows = (
    (('32 labels', 'SimCLR + head', ('head',)),) if 'head' in stages else ()
  )
  config.product = stages[-1]
  return config
