"""What a text may be: characters, lengths, a pattern, or a list of words."""

import dataclasses


@dataclasses.dataclass(frozen=True)
class Constraint:
  """What every text has to satisfy; parts that are left out allow anything.

  Attributes:
    charset: the characters that may occur, or the name of a charset.
    lengths: the fewest and the most characters.
    pattern: a sign for each character: D is a digit, L a letter, A a letter or
      a digit, ? any character. All others stand for themselves, and so does a
      sign behind a backslash.
    lexicon: the texts themselves, one of which has to be read.
  """

  charset: str = ''
  lengths: tuple[int, int] | None = None
  pattern: str = ''
  lexicon: tuple[str, ...] = ()
