"""DeepCluster-v2 on text lines, then reading with a few labels; or v1.

Papers: DeepCluster, arXiv 1807.05520; v2, arXiv 2006.09882, appendix.
For: clusters that are found anew at each epoch, among the instances of all
lines. `version=1` learns from one view.
Expected at `laptop`: `docs/text_methods.md`.
Cost, scales, views and options: those of `simclr_ocr.py`.

  python -m ssljax.main --config=configs/deepcluster_ocr.py:laptop
  python -m ssljax.main --config=configs/deepcluster_ocr.py:version=1
"""

from configs import text

VERSIONS = {
  1: {'name': 'deepcluster', 'clusters': 128},
  2: {'name': 'deepcluster_v2', 'clusters': 128, 'heads': 3},
}


def stages(scale: str, version: int = 2) -> dict:
  made = text.stages(scale, VERSIONS[version])
  if version == 1:
    made['pretrain'].views.count = 1
  if scale == 'laptop':
    # The first images only, so that the few steps are several epochs, each of
    # which begins with new clusters.
    made['pretrain'].data.count = 4_800
  return made


def get_config(arg=None):
  """`--config=configs/deepcluster_ocr.py:SCALE,version=1,data=DIR,...`."""
  return text.recipe(arg, 'DeepCluster v{version}', stages, version=2)
