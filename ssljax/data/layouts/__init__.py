"""The layouts: ways to draw a text as a picture.

A layout is a function of (rng, text, height, width, faces) that returns the
picture, float32 (height, width, 3) in 0..255; the characters' extents, float32
(len(text), 2) in pixels; and the text alone as a coverage, float32 (height,
width) in 0..1: solid letters in their places and nothing else. It draws all
that varies from `rng` alone and uses the given font faces only. To add one,
write the function and put it last in `LAYOUTS`; nothing else changes.
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
# Held out: only the splits `unlabeled_unseen` and `test_unseen` show them.
UNSEEN = {
  'arched': held_out.arched,
  'pixel': held_out.pixel,
  'shadow': held_out.shadow,
  'jpeg': held_out.jpeg,
}
LAYOUTS = SEEN | UNSEEN
SEEN_LAYOUTS, UNSEEN_LAYOUTS = tuple(SEEN), tuple(UNSEEN)
