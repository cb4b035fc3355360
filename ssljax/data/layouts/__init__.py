"""The layouts: ways to draw a text as a picture.

A layout is a function of (rng, text, height, width, faces) that returns

- the picture, float32 (height, width, 3) in 0..255;
- the extents of the characters, float32 (len(text), 2): the columns [left,
  right) of the ink of each character;
- the coverage of the text alone, float32 (height, width) in 0..1: solid
  letters in their places, and nothing else.

A layout draws everything that varies from `rng`, and it uses only the given
font faces. To add a layout, write the function and put it last in `LAYOUTS`;
nothing else changes.
"""

from ssljax.data.layouts import classic, crowded, held_out

SEEN = {
  'arcs': classic.arcs,
  'colors': classic.colors,
  'textured': classic.textured,
  'hollow': classic.hollow,
  'overlap': crowded.overlap,
  'warp': crowded.warp,
  'grid': crowded.grid,
  'salt': crowded.salt,
  'spaced': crowded.spaced,
}
# These layouts are held out: by default only the splits `unlabeled_unseen` and
# `test_unseen` show them.
UNSEEN = {
  'arched': held_out.arched,
  'pixel': held_out.pixel,
  'shadow': held_out.shadow,
  'jpeg': held_out.jpeg,
}
LAYOUTS = SEEN | UNSEEN
SEEN_LAYOUTS, UNSEEN_LAYOUTS = tuple(SEEN), tuple(UNSEEN)
