"""What mkdocs.yml cannot say: equations become MathML while they are built.

GitHub draws `$x$` and blocks of the language `math` as equations, so the pages
have these. The site has the MathML of each, which a browser draws without a
script.
"""

import html
import re
from typing import Any

from latex2mathml.converter import convert


def equation(source: str, *others: Any, **more: Any) -> str:
  """The HTML of a block, for pymdownx.superfences."""
  del others, more
  return f'<p class="equation">{convert(source, display="block")}</p>'


def on_config(config: Any) -> Any:
  """Takes blocks of `math` from the highlighter; mkdocs calls it."""
  fences = config.mdx_configs.setdefault('pymdownx.superfences', {})
  fences['custom_fences'] = [
    {'name': 'math', 'class': 'math', 'format': equation}
  ]
  return config


def on_page_content(content: str, **more: Any) -> str:
  r"""Draws what pymdownx.arithmatex has found: \(x\); mkdocs calls it."""
  del more
  return re.sub(
    r'<span class="arithmatex">\\\((.+?)\\\)</span>',
    lambda found: convert(html.unescape(found[1])),
    content,
  )
