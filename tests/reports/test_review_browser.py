"""The page of labels in a real browser: typing, keys, keeping and saving."""

import csv
import shutil
import time

import pytest
from PIL import Image, ImageDraw

from ssljax.reports import review

webdriver = pytest.importorskip(
  'selenium.webdriver', reason='drives a browser: pip install selenium'
)
keys = pytest.importorskip('selenium.webdriver.common.keys').Keys
BROWSER = shutil.which('chromium') or shutil.which('chromium-browser')
DRIVER = shutil.which('chromedriver')
pytestmark = [
  pytest.mark.slow,  # starts a browser
  pytest.mark.skipif(
    not (BROWSER and DRIVER),
    reason='drives a browser: install chromium and chromedriver',
  ),
]
FILES = ('a.png', 'b.png', 'sub/c, "d".png', 'e.png')


def _item(file, label, reading):
  image = Image.new('RGB', (160, 60), 'white')
  ImageDraw.Draw(image).text((8, 20), label or reading, fill='black')
  return review.Item(file, label, reading, 0.97, 0.001, review.thumbnail(image))


def _page(path, name='images', label='13'):
  a, b, c, d = FILES
  text = review.page(
    {
      'wrong': [_item(a, label, '12')],
      'next': [_item(b, '', '345'), _item(c, '', '6')],
      'rest': [_item(d, '88', '89')],
    },
    folder=f'/home/me/{name}',
    reader='finetune of /home/me/runs/one',
    summary='4 of 4 images are shown; 2 have labels.',
    characters='0123456789',
  )
  path.write_text(text, encoding='utf-8')
  return path.as_uri()


@pytest.fixture(scope='module')
def browser(tmp_path_factory):
  options = webdriver.ChromeOptions()
  options.binary_location = BROWSER
  for flag in (
    '--headless=new',
    '--no-sandbox',
    '--disable-gpu',
    '--disable-dev-shm-usage',
    '--disable-background-networking',
    f'--user-data-dir={tmp_path_factory.mktemp("profile")}',
  ):
    options.add_argument(flag)
  service = webdriver.ChromeService(executable_path=DRIVER)
  driver = webdriver.Chrome(options=options, service=service)
  yield driver
  driver.quit()


@pytest.fixture
def page(browser, tmp_path):
  """The browser on a page of which it keeps nothing yet."""
  where = _page(tmp_path / 'review.html')
  browser.set_window_size(1280, 900)
  browser.execute_cdp_cmd(
    'Browser.setDownloadBehavior',
    {'behavior': 'allow', 'downloadPath': str(tmp_path)},
  )
  browser.get(where)
  browser.execute_script('localStorage.clear()')
  browser.get(where)
  return browser


def _fields(page):
  return page.find_elements('css selector', '.item input')


def _click(page, part):
  """Clicks in the middle of the window, where the bar covers nothing."""
  page.execute_script('arguments[0].scrollIntoView({block: "center"})', part)
  part.click()


def _values(page):
  return [field.get_property('value') for field in _fields(page)]


def _focused(page):
  return _fields(page).index(page.switch_to.active_element)


def _count(page):
  return page.find_element('id', 'count').text


def _press(page, *pressed):
  page.switch_to.active_element.send_keys(*pressed)


def _saved(page, tmp_path):
  path = tmp_path / 'corrections.csv'
  path.unlink(missing_ok=True)
  page.find_element('id', 'save').click()
  deadline = time.monotonic() + 10
  # A browser makes an empty file of this name before it writes the rows.
  while not (path.exists() and path.stat().st_size):
    assert time.monotonic() < deadline, f'{path} was not written'
    time.sleep(0.05)
  with path.open(newline='', encoding='utf-8') as file:
    return list(csv.reader(file))


def test_keys_accept_and_move_and_the_rows_are_saved(page, tmp_path):
  assert _values(page) == ['13', '345', '6', '88']
  assert _count(page) == '0 of 4 done, 0 rows to download'
  assert _saved(page, tmp_path) == [['file', 'text']]
  _click(page, _fields(page)[0])
  _press(page, keys.CONTROL, keys.ENTER)  # takes the reading
  assert _focused(page) == 1
  _press(page, keys.ENTER)  # as it was read
  _press(page, keys.ARROW_DOWN)
  assert _focused(page) == 3
  _press(page, keys.ARROW_UP)
  assert _focused(page) == 2
  # What is typed replaces the reading, because all of it is selected.
  _press(page, ' 6,"7" ', keys.ENTER)
  assert _focused(page) == 3
  _press(page, keys.ENTER)  # a label that is right
  assert page.switch_to.active_element.get_attribute('id') == 'save'
  assert _count(page) == '4 of 4 done, 3 rows to download'
  assert _saved(page, tmp_path) == [
    ['file', 'text'], ['a.png', '12'], ['b.png', '345'], [FILES[2], '6,"7"']
  ]  # fmt: skip


def test_a_closed_page_loses_nothing(page, tmp_path):
  _click(page, _fields(page)[0])
  _press(page, keys.ARROW_DOWN)
  _press(page, '11', keys.ENTER)
  # Typed and left, without a key that accepts.
  _press(page, '22')
  _click(page, _fields(page)[0])
  page.get(page.current_url)
  assert _values(page) == ['13', '11', '22', '88']
  assert _count(page) == '2 of 4 done, 2 rows to download'
  # A later page of the same folder goes on, and that of another does not.
  page.get(_page(tmp_path / 'later.html'))
  assert _values(page)[1] == '11'
  assert _saved(page, tmp_path)[1:] == [['b.png', '11'], [FILES[2], '22']]
  page.get(_page(tmp_path / 'other.html', name='others'))
  assert _values(page)[1] == '345'


def test_a_correction_is_saved_again_once_the_folder_has_it(page, tmp_path):
  """Or training with a newer file would lose it."""
  _click(page, page.find_elements('css selector', '.take')[0])
  page.get(_page(tmp_path / 'later.html', label='12'))
  assert _saved(page, tmp_path)[1:] == [['a.png', '12']]
  # The text of before is a change by now.
  page.get(_page(tmp_path / 'other.html', label='14'))
  _click(page, _fields(page)[0])
  _press(page, keys.CONTROL, 'a')
  _press(page, '13', keys.ENTER)
  assert _saved(page, tmp_path)[1:] == [['a.png', '13']]


def test_what_was_accepted_is_taken_back(page, tmp_path):
  _click(page, _fields(page)[3])
  _press(page, '5', keys.ENTER)
  _click(page, _fields(page)[3])
  _press(page, keys.ESCAPE)
  assert _values(page)[3] == '88'
  _click(page, _fields(page)[0])
  _press(page, keys.BACKSPACE, keys.ENTER)
  _click(page, page.find_elements('css selector', '.undo')[0])
  assert _values(page)[0] == '13'
  assert _count(page) == '0 of 4 done, 0 rows to download'


def test_an_empty_field_removes_a_label(page, tmp_path):
  _fields(page)[0].clear()
  _fields(page)[1].clear()
  _click(page, _fields(page)[3])
  # Without a label there is nothing to remove.
  assert _count(page) == '2 of 4 done, 1 row to download'
  assert _saved(page, tmp_path)[1:] == [['a.png', '']]


def test_buttons_do_what_keys_do(page, tmp_path):
  _click(page, page.find_elements('css selector', '.take')[0])
  _click(page, page.find_elements('css selector', '.accept')[1])
  assert _focused(page) == 2
  assert _saved(page, tmp_path)[1:] == [['a.png', '12'], ['b.png', '345']]


@pytest.mark.parametrize('width', [1280, 390, 320])
def test_nothing_is_cut_off_at_the_width_of_a_phone(page, width):
  page.execute_cdp_cmd(
    'Emulation.setDeviceMetricsOverride',
    {'width': width, 'height': 800, 'deviceScaleFactor': 1, 'mobile': True},
  )
  try:
    page.get(page.current_url)
    wide = page.execute_script('return document.documentElement.scrollWidth')
    assert wide == width
    for part in page.find_elements('css selector', 'button, input, img'):
      if part.is_displayed():
        box = part.rect
        assert box['x'] >= 0 and box['x'] + box['width'] <= width
        assert part.tag_name == 'img' or box['height'] >= 44
  finally:
    page.execute_cdp_cmd('Emulation.clearDeviceMetricsOverride', {})


CONTRASTS = """
function parts(colour) {
  const found = colour.match(/[\\d.]+/g).map(Number);
  return found.length > 3 && found[3] === 0 ? null : found.slice(0, 3);
}
function light(rgb) {
  const [r, g, b] = rgb.map(x => x / 255).map(
    x => x <= 0.04045 ? x / 12.92 : ((x + 0.055) / 1.055) ** 2.4);
  return 0.2126 * r + 0.7152 * g + 0.0722 * b;
}
function ground(node) {
  for (; node; node = node.parentElement) {
    const found = parts(getComputedStyle(node).backgroundColor);
    if (found) return found;
  }
  return [255, 255, 255];
}
return Array.from(document.querySelectorAll('body *')).filter(
  node => node.matches('input') || Array.from(node.childNodes).some(
    each => each.nodeType === 3 && each.data.trim() && node.offsetParent)
).map(node => {
  const pair = [parts(getComputedStyle(node).color), ground(node)].map(light);
  const [low, high] = pair.sort((a, b) => a - b);
  return [node.className || node.tagName, (high + 0.05) / (low + 0.05)];
});
"""


@pytest.mark.parametrize('scheme', ['light', 'dark'])
def test_texts_stand_out_from_their_ground(page, scheme):
  page.execute_cdp_cmd(
    'Emulation.setEmulatedMedia',
    {'features': [{'name': 'prefers-color-scheme', 'value': scheme}]},
  )
  try:
    page.get(page.current_url)
    _click(page, _fields(page)[0])
    _press(page, keys.ENTER)
    found = page.execute_script(CONTRASTS)
    assert len(found) > 30
    assert not [each for each in found if each[1] < 4.5]
    ground = page.execute_script(
      'return getComputedStyle(document.body).backgroundColor'
    )
    assert ground == {'light': 'rgb(246, 247, 249)'}.get(
      scheme, 'rgb(20, 23, 27)'
    )
  finally:
    page.execute_cdp_cmd('Emulation.setEmulatedMedia', {'features': []})


def test_nothing_goes_wrong_or_out(page):
  assert [
    entry for entry in page.get_log('browser') if entry['level'] == 'SEVERE'
  ] == []
  loaded = page.execute_script(
    "return performance.getEntriesByType('resource').map(each => each.name)"
  )
  assert [name for name in loaded if not name.startswith('data:')] == []
