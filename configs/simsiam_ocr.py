"""SimSiam on text lines, then reading with a few labels.

Paper: SimSiam, arXiv 2011.10566; heads and loss are the article's, described in
`ssljax/models/heads.py`.
For: learning from two views without negatives and without a slow copy.
Expected at `laptop`: `docs/simsiam.md` and `docs/text_methods.md`.
Cost, scales, views and options: those of `simclr_ocr.py`.

  python -m ssljax.main --config=configs/simsiam_ocr.py:laptop
"""

from configs import text

SIMSIAM = {
  'name': 'simsiam',
  'l2': 1e-3,
  'predict': True,
  'stop_gradient': True,
  'projector': {'batch_norm': True},  # of the article too
}


def stages(scale: str, method: dict = SIMSIAM) -> dict:
  """The predictor learns thirty times as fast, because it has to keep up.

  At the article's one learning rate for all parts, the few steps of `laptop`
  end in features of effective rank 1. The predictor has to be near its best for
  the projections at hand (arXiv 2011.10566, section 5).
  """
  made = text.stages(scale, method)
  if scale != 'article' and method['predict']:
    made['pretrain'].optimizer.rates = {'predictor': 30.0}
  return made


def get_config(arg=None):
  """`--config=configs/simsiam_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return text.recipe(arg, 'SimSiam', stages)
