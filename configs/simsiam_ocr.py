"""SimSiam on text lines, then reading with a few labels.

Paper: SimSiam, arXiv 2011.10566; heads and loss as the article has them, which
see `ssljax/models/heads.py`. Scales, stages, views, costs and options are those
of `simclr_ocr.py`.

  python -m ssljax.main --config=configs/simsiam_ocr.py:laptop
"""

from configs import simclr_ocr

SIMSIAM = {
  'name': 'simsiam',
  'l2': 1e-3,
  'predict': True,
  'stop_gradient': True,
  'projector': {'batch_norm': True},  # of the article too
}


def stages(scale: str, method=SIMSIAM) -> dict:
  """Those of `simclr_ocr`, with a predictor that keeps up with its inputs.

  At the article's one learning rate for all parts the few steps of `laptop`
  end in features of effective rank 1; the predictor has to be near its best
  for the projections at hand (arXiv 2011.10566, section 5), and ten times the
  rate brings it there.
  """
  made = simclr_ocr.stages(scale, method)
  if scale != 'article' and method['predict']:
    made['pretrain'].optimizer.rates = {'predictor': 10.0}
  return made


def get_config(arg=None):
  """`--config=configs/simsiam_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return simclr_ocr.recipe(arg, 'SimSiam', stages)
