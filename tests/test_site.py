"""The pages of docs/ as a site: whole, reached, and without a network."""

import html.parser
import os
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
DOCS = ROOT / 'docs'


class _Page(html.parser.HTMLParser):
  """What a page links to, what it loads, and its equations."""

  def __init__(self, text):
    super().__init__()
    self.links, self.loaded, self.equations = set(), set(), 0
    self.feed(text)

  def handle_starttag(self, tag, attrs):
    attrs = dict(attrs)
    if tag == 'a':
      self.links.add(attrs.get('href', ''))
    if tag == 'link' and attrs.get('rel') != 'canonical':
      self.loaded.add(attrs.get('href', ''))
    self.loaded.add(attrs.get('src', ''))
    self.equations += tag == 'math'


@pytest.fixture(scope='module')
def site(tmp_path_factory):
  """The folder of the site; dead links and dead anchors would have failed."""
  out = tmp_path_factory.mktemp('site')
  built = subprocess.run(
    [sys.executable, '-m', 'mkdocs', 'build', '--strict', f'--site-dir={out}'],
    cwd=ROOT,
    env=os.environ | {'NO_MKDOCS_2_WARNING': '1'},
    capture_output=True,
    text=True,
  )
  assert built.returncode == 0, built.stderr
  return out


@pytest.fixture(scope='module')
def pages(site):
  """Each page of the site, by its path in the site."""
  return {
    path.relative_to(site): _Page(path.read_text(encoding='utf-8'))
    for path in site.rglob('*.html')
  }


def test_the_navigation_reaches_every_page(pages):
  wanted = {
    path.relative_to(DOCS).with_suffix('.html').as_posix()
    for path in DOCS.rglob('*.md')
    if DOCS / 'draw' not in path.parents
  }
  assert len(wanted) > 40
  assert wanted <= pages[pathlib.Path('index.html')].links
  assert not any(path.parts[0] == 'draw' for path in pages)


def test_a_page_loads_nothing_from_elsewhere(site, pages):
  loaded = {each for page in pages.values() for each in page.loaded}
  assert any(each.endswith('.css') for each in loaded)
  assert not [each for each in loaded if re.match(r'(https?:)?//', each)]
  for style in site.rglob('*.css'):
    assert not re.search(r'url\(["\']?(https?:)?//', style.read_text()), style


def test_equations_need_no_script(pages):
  of = {path.stem: page.equations for path, page in pages.items()}
  assert of['simclr'] == 4  # three symbols in a sentence, and the loss
  for path, page in pages.items():
    if path.parts[0] == 'methods' and path.stem != 'index':
      assert page.equations, path
