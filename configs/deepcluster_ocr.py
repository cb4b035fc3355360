"""DeepCluster-v2 on text lines, then reading with a few labels; or v1.

Papers: DeepCluster, arXiv 1807.05520; v2, arXiv 2006.09882, appendix. Scales,
stages, views, costs and options are those of `simclr_ocr.py`; expected:
`docs/text_methods.md`. What is clustered are the instances of every line. At
`laptop` it learns from the first 4,800 images only, so that its few steps are
several epochs, each of which begins with new clusters.

  python -m ssljax.main --config=configs/deepcluster_ocr.py:laptop
  python -m ssljax.main --config=configs/deepcluster_ocr.py:version=1
"""

from configs import simclr_ocr

VERSIONS = {
  1: {'name': 'deepcluster', 'clusters': 128},
  2: {'name': 'deepcluster_v2', 'clusters': 128, 'heads': 3},
}


def stages(scale: str, version: int = 2) -> dict:
  """Those of `simclr_ocr`; v1 learns from one view."""
  made = simclr_ocr.stages(scale, VERSIONS[version])
  if version == 1:
    made['pretrain'].views.count = 1
  if scale == 'laptop':
    made['pretrain'].data.count = 4_800
  return made


def get_config(arg=None):
  """`--config=configs/deepcluster_ocr.py:SCALE,version=1,data=DIR,...`."""
  return simclr_ocr.recipe(arg, 'DeepCluster v{version}', stages, version=2)
