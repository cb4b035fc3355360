"""Font faces and their glyphs; the fonts come from PyPI packages.

A glyph is drawn once for each (face, character, size) and kept. Layouts scale,
turn and slant this drawing, so that an image needs no font rendering.
"""

import functools
import importlib.resources
from collections.abc import Sequence

from PIL import Image, ImageChops, ImageDraw, ImageFont

from ssljax.errors import UserError

# name -> (package, file). The faces are chosen to differ in weight, slant,
# serifs and roundness.
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

# Only the splits of `render.UNSEEN_SPLITS` are drawn with these faces.
HELD_OUT_FACES = {
  'lato_regular': ('font_lato', 'Lato-Regular.ttf'),
  'lato_black': ('font_lato', 'Lato-Black.ttf'),
  'lato_bold_italic': ('font_lato', 'Lato-BoldItalic.ttf'),
  'intuitive': ('font_intuitive', 'Intuitive.ttf'),
}
ALL_FACES = FACES | HELD_OUT_FACES


def heavy(faces: Sequence[str]) -> tuple[str, ...]:
  """The faces whose strokes are wide enough to be drawn as outlines."""
  words = ('black', 'bold', 'fredoka')
  return tuple(face for face in faces if any(word in face for word in words))


def lacking(face: str, characters: str) -> str:
  """The characters that a face has no glyph for, or an empty one."""
  font = load_font(face, 40)

  def ink(character: str) -> bytes:
    image = Image.new('L', (120, 80))
    ImageDraw.Draw(image).text((40, 10), character, font=font, fill=255)
    return image.tobytes() if image.getbbox() else b''

  # U+FFFF is no character: every face draws its box for what it lacks.
  empty = (b'', ink('\uffff'))
  return ''.join(each for each in characters if ink(each) in empty)


@functools.lru_cache(maxsize=64)
def having(characters: str, faces: tuple[str, ...]) -> tuple[str, ...]:
  """Of some faces those that can draw every character.

  Raises:
    UserError: no face has them all, or none that is `heavy`, which some layouts
      need; the error names the characters that the nearest face lacks.
  """
  lacks = {face: lacking(face, characters) for face in faces}
  fewest = min((lacks[face] for face in heavy(faces)), key=len)
  if fewest:
    named = ', '.join(f'{c!r} (U+{ord(c):04X})' for c in fewest)
    raise UserError(
      f'Found characters that the fonts of the renderer cannot draw: {named}; '
      'expected characters that are in the fonts and have ink. Choose a '
      'charset without them, or do without rendered text.'
    )
  return tuple(face for face in faces if not lacks[face])


def font_path(face: str) -> str:
  """The path of a face's font file.

  Raises:
    ValueError: there is no face of this name.
  """
  if face not in ALL_FACES:
    raise ValueError(
      f'Found font face {face!r}; expected one of {", ".join(ALL_FACES)}.'
    )
  package, file = ALL_FACES[face]
  return str(importlib.resources.files(package) / 'files' / file)


@functools.lru_cache(maxsize=256)
def load_font(face: str, size: int) -> ImageFont.FreeTypeFont:
  """The face at `size` pixels per em."""
  # The other layout engine, Raqm, places glyphs differently and is installed
  # on some machines only, so the images would depend on the machine.
  return ImageFont.truetype(
    font_path(face), size, layout_engine=ImageFont.Layout.BASIC
  )


@functools.lru_cache(maxsize=64)
def font_of_cap_height(face: str, cap_height: int) -> ImageFont.FreeTypeFont:
  """The face at the size where a capital H is about `cap_height` pixels tall.

  At the same em size the heights of the faces differ by up to a quarter, so a
  size in ems would make the characters of one text unequally tall.
  """
  _, top, _, bottom = load_font(face, 200).getbbox('H', anchor='ls')
  return load_font(face, round(200 * cap_height / (bottom - top)))


@functools.lru_cache(maxsize=8192)
def glyph(
  face: str, character: str, cap_height: int, stroke: int = 0
) -> tuple[Image.Image, Image.Image]:
  """Draws a character and its outline as masks of mode 'L', where ink is 255.

  Both masks have the same size, with a margin of about one pixel to the left
  and right of the ink. Their vertical middle is the middle of a capital, so
  that characters whose middles are aligned share their baseline.

  Args:
    face: the name of the face.
    character: a single character.
    cap_height: the height of a capital H, in pixels.
    stroke: the width of the outline around the ink, in pixels; with 0 the
      outline is empty.

  Returns:
    (fill, outline).
  """
  font = font_of_cap_height(face, cap_height)
  left, top, right, bottom = font.getbbox(
    character, anchor='ls', stroke_width=stroke
  )
  middle = -cap_height / 2  # the baseline is at 0, and up is negative
  half = int(max(middle - top, bottom - middle)) + 2
  size = (int(right - left) + 3, 2 * half)
  origin = (1 - left, half - middle)

  def mask(stroke_width: int) -> Image.Image:
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
