"""Font faces and their glyphs, from fonts that arrive as PyPI packages.

A glyph is drawn once for each (face, character, size) and kept; layouts scale,
turn and slant it from there, so an image costs no font rendering.
"""

import functools
import importlib.resources
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFont

# name -> (package, file). Chosen to differ: weight, slant, serifs, roundness.
FACES = {
  'sans_semibold': ('font_source_sans_pro', 'SourceSansPro-Semibold.ttf'),
  'sans_black_italic': ('font_source_sans_pro', 'SourceSansPro-BlackIt.ttf'),
  'serif_regular': ('font_source_serif_pro', 'SourceSerifPro-Regular.ttf'),
  'serif_black': ('font_source_serif_pro', 'SourceSerifPro-Black.ttf'),
  'serif_italic': ('font_source_serif_pro', 'SourceSerifPro-SemiboldIt.ttf'),
  'caladea_bold': ('font_caladea', 'Caladea-Bold.ttf'),
  'caladea_italic': ('font_caladea', 'Caladea-BoldItalic.ttf'),
  'fredoka': ('font_fredoka_one', 'FredokaOne-Regular.ttf'),
  'hanken_medium': ('font_hanken_grotesk', 'HankenGrotesk-Medium.otf'),
  'manrope_regular': ('font_manrope', 'Manrope-Regular.ttf'),
  'manrope_extrabold': ('font_manrope', 'Manrope-ExtraBold.ttf'),
}

# Faces that no image of a seen split is drawn with.
HELD_OUT_FACES = {
  'lato_regular': ('font_lato', 'Lato-Regular.ttf'),
  'lato_black': ('font_lato', 'Lato-Black.ttf'),
  'lato_bold_italic': ('font_lato', 'Lato-BoldItalic.ttf'),
  'intuitive': ('font_intuitive', 'Intuitive.ttf'),
}
ALL_FACES = FACES | HELD_OUT_FACES


def heavy(faces: Sequence[str]) -> tuple[str, ...]:
  """Those with strokes wide enough to be seen as an outline."""
  words = ('black', 'bold', 'fredoka')
  return tuple(face for face in faces if any(word in face for word in words))


def font_path(face: str) -> str:
  """The font file of a face; ValueError for a name that is not there."""
  if face not in ALL_FACES:
    raise ValueError(
      f'Found font face {face!r}; expected one of {", ".join(ALL_FACES)}.'
    )
  package, file = ALL_FACES[face]
  return str(importlib.resources.files(package) / 'files' / file)


@functools.lru_cache(maxsize=256)
def load_font(face: str, size: int) -> ImageFont.FreeTypeFont:
  """The face at `size` pixels per em."""
  # The basic layout engine: Raqm is there on some machines only, and places
  # glyphs differently, which would make the data depend on the machine.
  return ImageFont.truetype(
    font_path(face), size, layout_engine=ImageFont.Layout.BASIC
  )


@functools.lru_cache(maxsize=64)
def font_of_cap_height(face: str, cap_height: int) -> ImageFont.FreeTypeFont:
  """The face at the size where a capital H is about `cap_height` pixels tall.

  Faces of one em size differ in height by a quarter; this evens them out.
  """
  _, top, _, bottom = load_font(face, 200).getbbox('H', anchor='ls')
  return load_font(face, round(200 * cap_height / (bottom - top)))


@functools.lru_cache(maxsize=8192)
def glyph(
  face: str, character: str, cap_height: int, stroke: int = 0
) -> tuple[Image.Image, Image.Image]:
  """(fill, outline) masks of a character, mode 'L', ink = 255.

  Both have the same size, one pixel wider than the ink on each side, and the
  vertical middle is the middle of a capital, so that characters on one line
  share their baseline. `outline` is a line `stroke` pixels wide around the
  ink and is empty for `stroke` 0.
  """
  font = font_of_cap_height(face, cap_height)
  left, top, right, bottom = font.getbbox(
    character, anchor='ls', stroke_width=stroke
  )
  middle = -cap_height / 2  # the baseline is at 0, and up is negative
  half = int(max(middle - top, bottom - middle)) + 2
  size = (int(right - left) + 3, 2 * half)
  origin = (1 - left, half - middle)

  def mask(stroke_width):
    image = Image.new('L', size)
    ImageDraw.Draw(image).text(
      origin,
      character,
      font=font,
      fill=255,
      anchor='ls',
      stroke_width=stroke_width,
    )
    return image

  fill = mask(0)
  outline = ImageChops.subtract(mask(stroke), fill) if stroke else None
  return fill, outline or Image.new('L', size)
