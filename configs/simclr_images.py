"""SimCLR on images, and what its features are worth.

Paper: SimCLR, arXiv 2002.05709.
For: features of images without labels, tested by kNN and by linear probes
beside raw pixels and an untrained encoder; then finetuning on 5 labels a class
(`labels=10`: on 10) and self-training, beside supervised training on the same
labels at equal compute. Every other `*_images.py` changes the method of this
config and keeps the rest.
Expected on `glyphs` and `digits`: `docs/images.md`. On CIFAR-10 lightly reports
a kNN accuracy of about 0.87 for this recipe; on ImageNet the paper's appendix B
has 64.5 % by linear evaluation after 100 epochs. Neither was run here.
Cost: at most 5 minutes on 2 CPU cores; CIFAR-10 about 2 hours on one GPU.

  python -m ssljax.main --config=configs/simclr_images.py
  python -m ssljax.main --config=configs/simclr_images.py:dataset=cifar10
  python -m ssljax.main --config=configs/simclr_images.py:data=DIR,size=64
  python -m ssljax.main --config=configs/simclr_images.py:take=RUN

`data=DIR` are your own images, with or without folders for their classes;
`take=RUN` adapts an encoder that another run has pretrained, and
`encoder=resnet50,take=FILE.safetensors` one of torchvision (docs/weights.md).
Networks and optimizers of all data sets: `configs/images.py`.
"""

from configs import images
from configs.images import LARS, mlp


def described(temperature: float, *widths: int) -> dict:
  method = {'name': 'simclr', 'contrast': 'nt_xent', 'temperature': temperature}
  return {'method': method, 'projector': mlp(*widths)}


SIMCLR = {
  'small': described(0.2, 128, 64),
  'cifar': described(0.5, 512, 128),
  # The paper's 0.3 * batch / 256, after 10 epochs of warm-up.
  'imagenet': described(0.1, 2048, 128)
  | {
    'policy': 'simclr',
    'batch_size': 4096,
    'optimizer': LARS | {'learning_rate': 4.8},
  },
}


def get_config(arg=None):
  """`--config=configs/simclr_images.py:SCALE,dataset=NAME,data=DIR,...`."""
  return images.recipe(arg, 'SimCLR', SIMCLR)
