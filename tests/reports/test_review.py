"""The page of labels: its parts and its pictures.

`test_review_browser.py` drives it in a browser.
"""

import base64
import html.parser
import io

import numpy as np
import pytest
from PIL import Image

from ssljax.reports import review

PICTURE = review.thumbnail(Image.new('RGB', (60, 24), 'white'))
VOID = {'meta', 'link', 'img', 'input', 'br'}


def _item(file, label='', reading='12', confidence=0.5, support=0.001):
  return review.Item(file, label, reading, confidence, support, PICTURE)


SECTIONS = {
  'wrong': [_item('a.png', '13', '12', 0.999), _item('b.png', '7', '71')],
  'next': [_item('sub/c, "d".png', reading='345')],
  'rest': [_item('e.png', '88', '88', 0.5, 0.5), _item('f.png', reading='')],
}


def _page(sections=SECTIONS, folder='/home/me/images', **options):
  return review.page(
    sections,
    folder=folder,
    reader='finetune',
    summary='5 images.',
    **{'characters': '0123456789', **options},
  )


class Elements(html.parser.HTMLParser):
  """Every element with its attributes; asserts that each is closed."""

  def __init__(self, text):
    super().__init__()
    self.found, self.open = [], []
    self.feed(text)
    assert not self.open

  def handle_starttag(self, tag, attrs):
    self.found.append((tag, dict(attrs)))
    self.open += [] if tag in VOID else [tag]

  def handle_endtag(self, tag):
    assert self.open.pop() == tag

  def named(self, name):
    return [attributes for tag, attributes in self.found if tag == name]


def test_a_page_has_a_named_field_and_a_described_picture_for_each_image():
  elements = Elements(_page())
  items = [x for x in elements.named('li') if x.get('class') == 'item']
  files = ['a.png', 'b.png', 'sub/c, "d".png', 'e.png', 'f.png']
  assert [item['data-file'] for item in items] == files
  fields = elements.named('input')
  labels = [each['for'] for each in elements.named('label')]
  assert (
    labels == [field['id'] for field in fields] == list(dict.fromkeys(labels))
  )
  # A label stays what it is, unless the user takes the reading.
  assert [field['value'] for field in fields] == ['13', '7', '345', '88', '']
  pictures = elements.named('img')
  for picture, file in zip(pictures, files, strict=True):
    assert file in picture['alt']
    # Twice its size, because there is room.
    assert (picture['width'], picture['height']) == ('120', '48')
  taken = [x for x in elements.named('button') if x.get('class') == 'take']
  assert len(taken) == 2  # where the label is another one
  assert len(elements.named('h1')) == 1 and len(elements.named('h2')) == 3


def test_a_page_needs_nothing_but_itself():
  text = _page()
  (policy,) = [
    x['content'] for x in Elements(text).named('meta') if 'http-equiv' in x
  ]
  assert policy.startswith("default-src 'none'; img-src data:;")
  assert 'http://' not in text and 'https://' not in text
  for attributes in (x for _, x in Elements(text).found):
    for name in ('src', 'href'):
      assert attributes.get(name, 'data:').startswith('data:')


def test_names_and_texts_cannot_become_part_of_the_page():
  evil = '"><script>alert(1)</script>&amp;'
  text = _page({'wrong': [_item(evil, evil, evil)]}, folder=f'/a/{evil[9:-18]}')
  elements = Elements(text)
  assert len(elements.named('script')) == 1
  (item,) = (x for x in elements.named('li') if x.get('class') == 'item')
  assert item['data-file'] == item['data-label'] == item['data-reading'] == evil


def test_a_keyboard_of_digits_where_texts_have_no_others():
  def modes(characters):
    fields = Elements(_page(characters=characters)).named('input')
    return {field.get('inputmode') for field in fields}

  assert modes('0123456789') == modes('47') == {'numeric'}
  assert modes('47a') == modes('') == {None}


def test_each_folder_has_a_key_of_its_own():
  def key(folder):
    return Elements(_page(folder=folder)).named('body')[0]['data-key']

  assert key('/a/images') == key('/a/images') != key('/b/images')


def test_an_empty_section_says_so():
  assert _page({'wrong': [], 'rest': []}).count('There are none.') == 2


def _decoded(picture):
  kind, data = picture[0].split(';base64,')
  image = Image.open(io.BytesIO(base64.b64decode(data)))
  assert kind == f'data:image/{image.format.lower()}'
  assert image.size == picture[1]
  return image.convert('RGB'), len(data)


@pytest.mark.parametrize(
  ('size', 'expected'),
  [
    ((60, 24), (60, 24)),
    ((1440, 120), (720, 60)),
    ((300, 240), (150, 120)),
    ((9000, 2), (720, 1)),
  ],
)
def test_a_picture_is_made_no_larger(size, expected):
  assert review.thumbnail(Image.new('RGB', size))[1] == expected


def test_pictures_are_small_and_look_the_same():
  noise = np.random.default_rng(0).integers(0, 256, (240, 1440, 3), np.uint8)
  _, size = _decoded(review.thumbnail(Image.fromarray(noise)))
  assert size < 35_000
  flat = np.full((24, 60, 3), (200, 30, 90), np.uint8)
  flat[5:9, 10:40] = 0
  image, size = _decoded(review.thumbnail(Image.fromarray(flat)))
  np.testing.assert_array_equal(np.asarray(image), flat)
  assert size < 1000


def test_shares_are_never_rounded_to_certainty():
  shares = [0.0, 0.004, 0.01, 0.425, 0.99, 0.9951, 1.0]
  assert [review._share(x) for x in shares] == [
    *('below 0.01', 'below 0.01', '0.01', '0.42', '0.99'),
    *('above 0.99', 'above 0.99'),
  ]
