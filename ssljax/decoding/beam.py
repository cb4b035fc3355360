"""Beam search over the beginnings of texts, by CTC.

After Hannun et al., *First-Pass Large Vocabulary Continuous Speech Recognition
using Bi-Directional Recurrent DNNs*, arXiv 1408.2873, algorithm 1, without a
language model. A beginning keeps the probability of its paths that end in a
blank apart from that of the others, because only behind a blank can its last
character come again.
"""

import functools
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from ssljax.decoding.constraints import Automaton
from ssljax.text import BLANK

FACTORS = np.array([1_000_003, 2_654_435_761], np.uint32)  # of the two hashes


class Beam(NamedTuple):
  """The beginnings that are kept of one row, each `(width,)`.

  Attributes:
    blank: the logarithm of the probability of all paths that end in a blank.
    character: the same of the paths that end in the last character.
    last: the class of the last character; the blank's of the empty text.
    state: of the automaton.
    name: two hashes of the text, `(width, 2)`.
    parent: those of the text without its last character.
  """

  blank: Array
  character: Array
  last: Array
  state: Array
  name: Array
  parent: Array


def search(
  odds: Float[np.ndarray, 'batch time classes'],
  left: Int[np.ndarray, 'batch time'],
  automaton: Automaton | None,
  *,
  width: int,
) -> tuple[
  Int[np.ndarray, 'batch width time'], Float[np.ndarray, 'batch width']
]:
  """The most probable texts among those that the beam has kept.

  Args:
    odds: log-probabilities of each frame; class 0 is the blank.
    left: the frames behind each frame that may show characters.
    automaton: of the allowed texts; None allows all.
    width: how many beginnings are kept.

  Returns:
    Classes, padded on the right with 0, and the logarithms of the probability
    of the paths that were kept, -inf where there is no such text; the most
    probable text first.
  """
  count = len(odds)
  # The search is compiled for few sizes of batches.
  rows = np.arange(1 << max(count - 1, 0).bit_length()) % max(count, 1)
  table = None if automaton is None else _padded(automaton)
  odds, left = odds[rows].astype(np.float32), left[rows].astype(np.int32)
  scores, places, parents, added = jax.device_get(
    _search(odds, left, table, width=width)
  )
  return _texts(places, parents, added)[:count], scores[:count]


def _padded(automaton: Automaton) -> Automaton:
  """The automaton with unreachable states, to be compiled for few sizes."""
  states = len(automaton.accepts)
  more = (1 << (states - 1).bit_length()) - states
  follow, accepts, needs = automaton
  return Automaton(
    np.pad(follow, ((0, more), (0, 0)), constant_values=-1),
    np.pad(accepts, (0, more)),
    np.pad(needs, ((0, more), (0, 0))),
  )


def _texts(places, parents, added) -> np.ndarray:
  """Follows the texts back from their places in the last beam."""
  time, batch, width = added.shape
  rows = np.arange(batch)[:, None]
  found = np.zeros((batch, width, time), np.int64)
  for step in range(time - 1, -1, -1):
    found[:, :, step] = added[step][rows, places]
    places = parents[step][rows, places]
  order = np.argsort(found == BLANK, axis=2, kind='stable')
  return np.take_along_axis(found, order, axis=2)


@functools.partial(jax.jit, static_argnames='width')
def _search(odds, left, table, *, width):
  def row(odds, left):
    beam, steps = jax.lax.scan(
      functools.partial(_step, table=table), _empty(width), (odds, left)
    )
    scores = jnp.logaddexp(beam.blank, beam.character)
    if table is not None:
      scores = jnp.where(table.accepts[beam.state], scores, -jnp.inf)
    return *jax.lax.top_k(scores, width), *steps

  outputs = (0, 0, 1, 1)  # time stays in front
  return jax.vmap(row, out_axes=outputs)(odds, left)


def _empty(width: int) -> Beam:
  """The empty text, and places that hold none."""
  nothing = jnp.full(width, -jnp.inf)
  zeros = jnp.zeros(width, jnp.int32)
  return Beam(
    blank=nothing.at[0].set(0),
    character=nothing,
    last=zeros,
    state=zeros,
    name=jnp.ones((width, 2), jnp.uint32),
    parent=jnp.zeros((width, 2), jnp.uint32),
  )


def _step(beam: Beam, frame, *, table):
  """One frame: texts stay as they are, or a character more; the best stay."""
  odds, left = frame
  width = len(beam.last)
  classes = jnp.arange(len(odds), dtype=jnp.int32)
  either = jnp.logaddexp(beam.blank, beam.character)
  again = classes == beam.last[:, None]
  grown = odds + jnp.where(again, beam.blank[:, None], either[:, None])
  grown = grown.at[:, BLANK].set(-jnp.inf)
  # A text with one character more may be in the beam already.
  alive = either > -jnp.inf
  same = (beam.name[:, None] == beam.parent[None]).all(axis=2)
  same &= alive[:, None] & alive
  known = same.any(axis=0)
  place = jnp.where(known, same.argmax(axis=0), width)
  gained = jnp.where(known, grown[place, beam.last], -jnp.inf)
  grown = grown.at[place, beam.last].set(-jnp.inf, mode='drop')
  blank = either + odds[BLANK]
  character = jnp.logaddexp(beam.character + odds[beam.last], gained)
  if table is not None:
    # Texts that could not be completed would fill the beam.
    needs = table.needs[beam.state]
    blank = jnp.where(needs[:, BLANK] <= left, blank, -jnp.inf)
    enough = needs[jnp.arange(width), beam.last] <= left
    character = jnp.where(enough, character, -jnp.inf)
    states = table.follow[beam.state]
    possible = (states >= 0) & (table.needs[states, classes] <= left)
    grown = jnp.where(possible, grown, -jnp.inf)
  scores = jnp.concatenate([jnp.logaddexp(blank, character), grown.reshape(-1)])
  _, chosen = jax.lax.top_k(scores, width)
  stays = chosen < width
  parent = jnp.where(stays, chosen, (chosen - width) // len(odds))
  added = jnp.where(stays, BLANK, (chosen - width) % len(odds))
  score = scores[chosen]

  def kept(old, new):
    shape = (-1,) + (1,) * (old.ndim - 1)
    return jnp.where(stays.reshape(shape), old[parent], new)

  name = beam.name[parent]
  named = name * FACTORS + added[:, None].astype(jnp.uint32)
  state = beam.state
  if table is not None:
    state = kept(state, table.follow[state[parent], added])
  beam = Beam(
    blank=kept(blank, -jnp.inf),
    character=kept(character, score),
    last=kept(beam.last, added),
    state=state,
    name=kept(beam.name, named),
    parent=kept(beam.parent, name),
  )
  return beam, (parent, added)
