"""SimCLR on text lines, then reading with a few labels.

Paper: SimCLR, arXiv 2002.05709; on sequences, SeqCLR, arXiv 2012.10873.
For: reading the text in images of which only a few have labels. Every other
`*_ocr.py` changes the method of this config and keeps the rest.
Expected at `laptop`: the table in the README.
Cost: `smoke` under a minute; `laptop` (the default) at most 10 minutes on 2 CPU
cores; `article` needs an accelerator, for 800,000 unlabelled and 40,000
labelled images.

  python -m ssljax.main --config=configs/simclr_ocr.py:laptop

On your own images, with or without a `labels.csv` (columns `file,text`) among
them; with the texts in their names; with a table of corrections; from an
encoder that another run has pretrained; and without supervised training beside
it, which takes half of the time:

  python -m ssljax.main --config=configs/simclr_ocr.py:data=DIR
  python -m ssljax.main --config=configs/simclr_ocr.py:data=DIR,labels=names
  python -m ssljax.main --config=configs/simclr_ocr.py:data=DIR,labels=FILE
  python -m ssljax.main --config=configs/simclr_ocr.py:data=DIR,take=RUN
  python -m ssljax.main --config=configs/simclr_ocr.py:data=DIR,compare=False

Views, sizes and optimizers of all scales: `configs/text.py`.
"""

from configs import text

# The article's temperature. Negatives are the instances of all images of the
# batch; 'image' would take those of the same image only.
SIMCLR = {'name': 'simclr', 'temperature': 0.1, 'negatives': 'batch'}


def stages(scale: str) -> dict:
  return text.stages(scale, SIMCLR)


def get_config(arg=None):
  """`--config=configs/simclr_ocr.py:SCALE,data=DIR,charset=NAME,take=RUN`."""
  return text.recipe(arg, 'SimCLR', stages)
