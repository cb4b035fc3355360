"""The views of the papers, of the article, and of single characters, by name.

Sources: SimCLR, arXiv 2002.05709, appendix A; MoCo, 1911.05722, section 4;
MoCo v2, 2003.04297, section 3; BYOL, 2006.07733, table 6; SwAV, 2006.09882 (the
small crops). The papers blur images of 224 pixels; here the blur shrinks with
the size of the view.
"""

from typing import Any

from ssljax.augment.images import Policy, Views, image_views
from ssljax.errors import UserError, check_known

_CROP = Policy(area=(0.2, 1.0), aspect=(3 / 4, 4 / 3), flip=0.5)
_SIMCLR = _CROP._replace(
  area=(0.08, 1.0),
  jitter=0.8,
  brightness=0.8,
  contrast=0.8,
  saturation=0.8,
  hue=0.2,
  grayscale=0.2,
  blur=0.5,
)
_MOCO_V2 = _CROP._replace(
  jitter=0.8,
  brightness=0.4,
  contrast=0.4,
  saturation=0.4,
  hue=0.1,
  grayscale=0.2,
  blur=0.5,
)
_BYOL = _SIMCLR._replace(brightness=0.4, contrast=0.4, saturation=0.2, hue=0.1)
_CHARACTERS = Policy(
  # No mirror and no small crop, because either may turn a character into
  # another one. The encoder takes for the character whatever two views share,
  # so the views must not share ground and ink: grain hides the texture of the
  # ground, and inversion hides which of the two is light.
  area=(0.5, 1.0),
  aspect=(3 / 4, 4 / 3),
  displacement=2.0,
  jitter=0.8,
  brightness=0.4,
  contrast=0.6,
  saturation=0.6,
  hue=0.2,
  channels=0.5,
  grayscale=0.2,
  inversion=0.5,
  blur=0.5,
  sigma=(1.0, 4.0),
  noise=0.1,
  noisy=0.8,
)
POLICIES = {
  'simclr': (_SIMCLR, _SIMCLR),
  'moco_v1': (
    _MOCO_V2._replace(jitter=1.0, hue=0.4, blur=0.0),
    _MOCO_V2._replace(jitter=1.0, hue=0.4, blur=0.0),
  ),
  'moco_v2': (_MOCO_V2, _MOCO_V2),
  'byol': (
    _BYOL._replace(blur=1.0),
    _BYOL._replace(blur=0.1, solarize=0.2),
  ),
  # SimCLR's policy for images of 32 pixels: half the strength, and no blur.
  'cifar': (
    _SIMCLR._replace(
      brightness=0.4, contrast=0.4, saturation=0.4, hue=0.1, blur=0.0
    ),
  )
  * 2,
  # The article lists random crop, noise, blur, jitter, colour-channel change,
  # grayscale, contrast and brightness; it gives no strengths.
  'article': (
    Policy(
      area=(0.3, 1.0),
      aspect=(3 / 4, 4 / 3),
      displacement=2.0,
      jitter=1.0,
      brightness=0.4,
      contrast=0.4,
      channels=0.3,
      grayscale=0.3,
      blur=0.8,
      noise=0.1,
      noisy=0.8,
    ),
  )
  * 2,
  'characters': (_CHARACTERS, _CHARACTERS),
}


def policy_views(
  name: str,
  *,
  size: int,
  count: int = 2,
  small: int = 0,
  small_size: int = 0,
  small_area: tuple[float, float] = (0.05, 0.14),
  **changes: Any,
) -> Views:
  """Builds the views of a named policy; see `image_views`.

  Args:
    name: a name in `POLICIES`.
    size: side of a view, in pixels.
    count: the number of views; 1 for labelled images.
    small: the number of further, small views (multi-crop).
    small_size: side of a small view, in pixels.
    small_area: smallest and largest share of the image that a small view
      covers. With small views, the large views cover at least the largest of
      these shares.
    **changes: values of `Policy`, for every view.

  Raises:
    UserError: an unknown policy or option, or small views without a size.
  """
  check_known('policy of views', name, POLICIES)
  for key in changes:
    check_known('option of a policy', key, Policy._fields)
  if small and small_size < 1:
    raise UserError(
      f'Found {small} small views of {small_size} pixels; expected 1 pixel or '
      'more. Set views.small_size.'
    )
  # A range that was stored as JSON comes back as a list.
  changes = {
    key: tuple(value) if isinstance(value, list) else value
    for key, value in changes.items()
  }
  pair = POLICIES[name]
  large = [pair[number % 2] for number in range(count)]
  if small:
    large = [each._replace(area=(small_area[1], 1.0)) for each in large]
  tiny = [pair[0]._replace(area=tuple(small_area))] * small
  sizes = [size] * count + [small_size] * small

  def scaled(policy, side):
    policy = policy._replace(**changes)
    if 'sigma' in changes:
      return policy
    low, high = policy.sigma
    return policy._replace(sigma=(low * side / 224, high * side / 224))

  policies = [
    scaled(policy, side)
    for policy, side in zip([*large, *tiny], sizes, strict=True)
  ]
  return image_views(policies, sizes)
