"""The pretext tasks on lines of text, then reading with a few labels.

Papers: those of `pretext_images.py`.
For: features from a task that needs no labels. `task=` names one: `rotation`
(upright or upside down), `relative_patch` (left or right of the middle window),
`jigsaw` (in which order four windows were laid), `colorization` (which colours
the line had), `autoencoder` (the plain print behind a noisy line),
`inpainting` (what stood in a hole), `super_resolution` (the line before it was
small), `pix2pix` and `cyclegan` (the plain print, with pairs and without). The
plain print is known of rendered lines only.
Expected, at a third of the steps: `docs/pretext.md`.
Cost, scales and options: those of `simclr_ocr.py`, but an estimated 20 minutes
for `cyclegan` at `laptop`.

  python -m ssljax.main --config=configs/pretext_ocr.py:laptop,task=rotation
"""

from configs import common, images, pretext_images, simclr_ocr, text
from configs.images import adversarial
from configs.images import task as described

ONE = text.LABELLED_VIEWS
PLAIN = {'decoder': {'skips': False}, 'clean': 'own', 'pace': (16, 4)}
TWO = adversarial('critic', 'reverse_critic', slower=2)
CYCLE = {'clean': 'other', 'changes': TWO, 'pace': (8, 2), 'cycle': 3.0}
TASKS = pretext_images.TASKS | images.by_name(
  # 300 steps of 48 lines at 2e-3 stay near chance.
  described('rotation', turns=2, views=ONE, pace=(16, 4))
  | {'changes': {'learning_rate': 1e-3}},
  described('relative_patch', grid=(1, 3)),
  described('jigsaw', grid=(1, 4), orders=24),
  described('autoencoder', amount=0.2, **PLAIN),
  # The strokes around a smaller hole tell something of what stood in it.
  described('inpainting', share=0.25, **pretext_images.CRITIC),
  # Three layouts in four have a light ground, as print does.
  described('cyclegan', 'CycleGAN', identity=0.5, **CYCLE),
)


def stages(scale: str, task: str) -> dict:
  """The stages of `simclr_ocr`, with a task in the place of the objective."""
  found, made = TASKS[task], simclr_ocr.stages(scale)
  old = made['pretrain']
  size = {'batch_size': old.batch_size, 'steps': old.steps}
  size = common.paced(size, found.get('pace'), scale)
  made['pretrain'] = common.stage(
    found['method'],
    split='unlabeled',
    epochs=old.epochs,
    **size,
    optimizer=old.optimizer.to_dict() | found.get('changes', {}),
    views=found['views'],
    clean=found.get('clean', ''),
  )
  return made


def get_config(arg=None):
  """`--config=configs/pretext_ocr.py:SCALE,task=NAME,data=DIR,take=RUN`."""
  return text.recipe(arg, '{task}', stages, task='rotation')
