"""The pretext tasks on lines of text, then reading with a few labels.

`task=` names one; papers are those of `pretext_images.py`. Of a line:

- `rotation`: whether it stands upright or upside down.
- `relative_patch`: whether a window is left or right of the middle one.
- `jigsaw`: in which order four windows were laid.
- `colorization`: which colours it had.
- `autoencoder`: the plain print behind the noisy line, and more noise.
- `inpainting`: what stood in a hole.
- `super_resolution`: what it showed before it was small.
- `pix2pix`, `cyclegan`: the plain print behind it, with pairs and without.

Print is known of rendered lines only. Scales, stages and options are those of
`simclr_ocr.py`, costs as well but for `cyclegan`, an estimated 20 minutes at
`laptop`; expected, of a third of the steps: `docs/pretext.md`.

  python -m ssljax.main --config=configs/pretext_ocr.py:laptop,task=rotation
"""

from configs import common, pretext_images, simclr_ocr

TASKS = pretext_images.TASKS | {
  'rotation': {
    # 300 steps of 48 lines at 2e-3 stay near chance.
    'method': {'name': 'rotation', 'turns': 2},
    'views': simclr_ocr.LABELLED_VIEWS,
    'changes': {'learning_rate': 1e-3},
    'pace': (16, 4),
  },
  'relative_patch': {
    'method': {'name': 'relative_patch', 'grid': (1, 3)},
  },
  'jigsaw': {'method': {'name': 'jigsaw', 'grid': (1, 4), 'orders': 24}},
  'autoencoder': pretext_images.TASKS['autoencoder']
  | {
    'method': {
      'name': 'autoencoder',
      'amount': 0.2,
      'decoder': {'skips': False},
    },
    'clean': 'own',
  },
  # The strokes around a smaller hole tell something of what stood in it.
  'inpainting': pretext_images.TASKS['inpainting']
  | {'method': {'name': 'inpainting', 'share': 0.25}},
  # Three layouts in four have a light ground, as print does.
  'cyclegan': pretext_images.TASKS['cyclegan']
  | {
    'method': {'name': 'cyclegan', 'cycle': 3.0, 'identity': 0.5},
    'changes': pretext_images.adversarial('critic', 'reverse_critic', slower=2),
  },
}


def stages(scale: str, task: str) -> dict:
  """Those of `simclr_ocr`, with a task in the place of the objective."""
  found, made = TASKS[task], simclr_ocr.stages(scale)
  old = made['pretrain']
  size = {'batch_size': old.batch_size, 'steps': old.steps}
  if 'pace' in found:
    size = common.paced(size, found['pace'], scale)
  made['pretrain'] = common.stage(
    found['method'],
    split='unlabeled',
    epochs=old.epochs,
    **size,
    optimizer=old.optimizer.to_dict() | found.get('changes', {}),
    views=found.get('views'),
    clean=found.get('clean', ''),
  )
  return made


def get_config(arg=None):
  """`--config=configs/pretext_ocr.py:SCALE,task=NAME,data=DIR,take=RUN`."""
  return simclr_ocr.recipe(arg, '{task}', stages, task='rotation')
