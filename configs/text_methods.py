"""Every method that pretrains on text, in one table and under one protocol.

Papers: those of the methods' own configs.
For: comparing methods. All have the same data, labels, steps and seeds, but for
the pace of a pretext task. On the frozen encoder a head is trained with 30
labels; then all of it is finetuned, beside supervised training for the same
labelled steps; and then it is self-trained. Each seed has labels of its own.
Expected: `docs/text_methods.md`.
Cost at `laptop`: about 4 minutes a method and seed on 2 CPU cores.

  python -m ssljax.main --config=configs/text_methods.py:laptop,seeds=3
  python -m ssljax.main --config=configs/text_methods.py:methods=SimCLR+BYOL
"""

import functools

from configs import (
  byol_ocr,
  common,
  deepcluster_ocr,
  metric_images,
  metric_ocr,
  moco_ocr,
  pretext_ocr,
  simclr_ocr,
  simsiam_ocr,
  swav_ocr,
  tables,
)

METHODS = {
  'SimCLR': simclr_ocr.stages,
  'SimSiam': simsiam_ocr.stages,
  'MoCo v2': moco_ocr.stages,
  'BYOL': byol_ocr.stages,
  'SwAV': swav_ocr.stages,
  'DeepCluster v1': functools.partial(deepcluster_ocr.stages, version=1),
  'DeepCluster v2': deepcluster_ocr.stages,
}
for objective, title in metric_images.TITLES.items():
  METHODS[title] = functools.partial(metric_ocr.stages, objective=objective)
for task, found in pretext_ocr.TASKS.items():
  METHODS[found['title']] = functools.partial(pretext_ocr.stages, task=task)


def get_config(arg=None):
  """`--config=configs/text_methods.py:SCALE,seeds=1,labels=30,methods=A+B`."""
  options = common.parse_arg(
    arg, scales=('smoke', 'laptop'), seeds=1, labels=30, methods=''
  )
  names = options.methods.split('+') if options.methods else list(METHODS)
  if unknown := [name for name in names if name not in METHODS]:
    raise ValueError(
      f'Found the methods {", ".join(unknown)}; expected some of '
      f'{", ".join(METHODS)}, with + between them.'
    )
  return tables.methods_table(options, {name: METHODS[name] for name in names})
