"""Files are whole or not there, and known again when they are read."""

import errno
import json
import os

import pytest

from ssljax import durable
from ssljax.durable import CannotWrite, Damaged
from ssljax.records import json_text, read_json, write_recorded


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path):
  path = tmp_path / 'a.txt'
  path.write_text('old')
  with (
    pytest.raises(CannotWrite, match=r'a\.txt \(No space.*MB free.*goes on'),
    durable.replacing(path) as file,
  ):
    file.write('new')
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
  with pytest.raises(ZeroDivisionError), durable.replacing(path) as file:
    file.write(str(1 / 0))
  assert path.read_text() == 'old'
  assert os.listdir(tmp_path) == ['a.txt']


@pytest.mark.parametrize(
  'number, words',
  [
    (errno.EDQUOT, 'expected room in your quota'),
    (errno.EROFS, 'expected a folder that may be written to, which {} is not'),
    (errno.EACCES, 'expected a folder that may be written to'),
    (errno.EFBIG, 'leave to write larger files'),
  ],
)
def test_what_is_needed_is_named(tmp_path, number, words):
  path = tmp_path / 'gone' / 'a.txt'
  with pytest.raises(CannotWrite) as caught, durable.writes(path):
    raise OSError(number, os.strerror(number))
  assert str(path) in str(caught.value)
  assert words.format(tmp_path) in str(caught.value)


def test_a_flipped_bit_is_refused_by_name(tmp_path):
  texts = {'a.json': json_text({'seed': 0}), 'b.json': json_text([1])}
  write_recorded(tmp_path, texts)
  assert read_json(tmp_path / 'a.json') == {'seed': 0}
  path = tmp_path / 'a.json'
  path.write_text(path.read_text().replace('0', '1'))  # still JSON
  with pytest.raises(Damaged, match=r'Found .*a\.json damaged'):
    read_json(path)
  assert set(durable.damage(tmp_path)) == {'a.json'}
  (tmp_path / 'b.json').unlink()
  assert durable.damage(tmp_path)['b.json'] == 'it is missing'


def test_a_file_that_is_written_again_is_known_again(tmp_path):
  write_recorded(tmp_path, {'a.json': '1', 'b.json': '1'})
  write_recorded(tmp_path, {'a.json': '2'})
  assert durable.damage(tmp_path) == {}
  assert set(durable.listing(tmp_path)) == {'a.json', 'b.json'}


@pytest.mark.parametrize(
  'text', ['{', '[]', '{"../a": "0"}', '{"/a": "0"}', '{"a": 1}', '\xff']
)
def test_a_list_of_digests_may_be_damaged_too(tmp_path, text):
  (tmp_path / 'a').touch()
  (tmp_path / durable.LISTING).write_bytes(text.encode('latin-1'))
  with pytest.raises(Damaged, match=r'digests\.json'):
    durable.listing(tmp_path)
  assert set(durable.damage(tmp_path)) == {durable.LISTING}


def test_a_listed_file_that_is_a_link_is_damage(tmp_path):
  write_recorded(tmp_path, {'a.json': '1'})
  (tmp_path / 'a.json').rename(tmp_path / 'outside')
  (tmp_path / 'a.json').symlink_to(tmp_path / 'outside')
  assert durable.damage(tmp_path) == {'a.json': 'it is no file'}


def test_json_of_an_absurd_size_is_refused_before_it_is_read(tmp_path):
  path = tmp_path / 'a.json'
  with path.open('wb') as file:
    file.truncate(2**40)  # a file of holes
  with pytest.raises(Damaged, match='1,099,511,627,776 bytes'):
    read_json(path)
  path.write_text(100_000 * '[')
  with pytest.raises(Damaged, match='expected JSON'):
    read_json(path)


def test_a_list_begins_anew_where_the_old_one_is_damaged(tmp_path):
  (tmp_path / durable.LISTING).write_text('{')
  durable.record(tmp_path, {'a': durable.digest_of(b'1')})
  assert json.loads((tmp_path / durable.LISTING).read_text()).keys() == {'a'}
