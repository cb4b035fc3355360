"""Labels as people write them: tables, corrections, file names and folders."""

import contextlib
import json
import os
import random
import re
import time
import tracemalloc
import unicodedata

import pytest

from configs import common
from ssljax.data import label_files, splits
from ssljax.data.labels import read_labels
from ssljax.errors import UserError

FILES = [f'{i}.png' for i in range(20)]
TEXTS = [f'{10 + 4 * i}' for i in range(20)]
ROWS = [f'{file},{text}' for file, text in zip(FILES, TEXTS, strict=True)]


@pytest.fixture
def read(tmp_path):
  """Reads labels whose table is text or bytes."""

  def read(table=None, *, name='labels.csv', files=FILES, **options):
    if table is not None:
      path = tmp_path / name
      path.parent.mkdir(exist_ok=True)
      path.write_bytes(table if isinstance(table, bytes) else table.encode())
    return read_labels(tmp_path, set(files), **options)

  return read


def _texts(labels):
  return {name: label.text for name, label in labels.found.items()}


EXPECTED = dict(zip(FILES, TEXTS, strict=True))
LINES = ['file,text', *ROWS]
TABLE = '\n'.join(LINES)


@pytest.mark.parametrize('separator', [',', ';', '\t', '|', ', '])
@pytest.mark.parametrize('name', ['labels.csv', 'labels.tsv', 'Labels.CSV'])
def test_any_separator_whatever_the_suffix(read, separator, name):
  found = read(TABLE.replace(',', separator), name=name)
  assert _texts(found) == EXPECTED
  assert found.found['3.png'].where == f'{name} row 5'
  assert not found.warnings


def test_a_separator_may_stand_in_a_quoted_text(read):
  found = read('file;text\n1.png;"1;2"\n2.png;1,2\n')
  assert _texts(found) == {'1.png': '1;2', '2.png': '1,2'}
  with pytest.raises(UserError, match=r'3 columns.*marks.*semicolons'):
    read('file;text\n1.png;1;2\n')


def test_a_line_that_is_for_excel(read):
  assert _texts(read('sep=;\r\nfile;text\r\n1.png;a\r\n')) == {'1.png': 'a'}


@pytest.mark.parametrize(
  ('encoding', 'guessed'),
  [
    ('utf-8', False),
    ('utf-8-sig', False),
    ('utf-16', False),
    ('utf-32', False),
    ('utf-16-le', True),
    ('utf-16-be', True),
    ('cp1252', True),
  ],
)
def test_any_encoding(read, encoding, guessed):
  found = read('file,text\n1.png,é€\n2.png,a\n'.encode(encoding))
  assert _texts(found) == {'1.png': 'é€', '2.png': 'a'}
  assert len(found.warnings) == guessed
  for warning in found.warnings:
    assert encoding in warning.lower() and 'guess' in warning
    assert 'é' in warning


@pytest.mark.parametrize(
  'header',
  [
    'File,Text',
    'FILENAME,LABEL',
    'file_name,text',
    'Image Path,ground-truth',
    'image,transcription',
    'name,value',
    'path,code',
  ],
)
def test_any_header(read, header):
  found = read('\n'.join([header, *ROWS]))
  assert _texts(found) == EXPECTED and not found.warnings


def test_columns_in_any_order_beside_others(read):
  found = read('id,Label,font,File\n7,a,Arial,1.png\n8,b,Arial,2.png\n')
  assert _texts(found) == {'1.png': 'a', '2.png': 'b'}
  assert found.warnings == ('labels.csv: the columns id, font are not read.',)


@pytest.mark.parametrize('separator', [',', ';', '\t'])
def test_no_header_where_the_first_column_names_files(read, separator):
  found = read('\n'.join(ROWS).replace(',', separator))
  assert _texts(found) == EXPECTED and not found.warnings
  assert found.found['0.png'].row == 1


def test_a_header_in_another_language(read):
  found = read('\n'.join(['bild;inhalt', *ROWS]).replace(',', ';'))
  assert _texts(found) == EXPECTED
  assert "['bild', 'inhalt'] was not understood" in found.warnings[0]
  assert "'file;text'" in found.warnings[0]


@pytest.mark.parametrize(
  'table', ['48;1.png\n52;2.png\n', 'bild;inhalt\nx;1\n', 'nothing;\n']
)
def test_columns_that_nothing_tells(read, table):
  """The message shows the line to put on top, with the table's separator."""
  with pytest.raises(UserError, match=r'header .*\n  file;text$'):
    read(table)


@pytest.mark.parametrize(
  'table',
  [
    '{"file": "1.png", "text": "048"}\n\n{"text": 48.0, "file": "2.png"}\n',
    '[{"file_name": "1.png", "label": "048"}, {"file": "2", "text": 48.0}]',
    '{"1.png": "048",\n "2.png": 48.0}',
  ],
)
@pytest.mark.parametrize('name', ['labels.jsonl', 'labels.json'])
def test_json(read, table, name):
  assert _texts(read(table, name=name)) == {'1.png': '048', '2.png': '48.0'}


@pytest.mark.parametrize(
  ('row', 'message'),
  [
    ('{"file": "1.png"}', r"row 2, '': found .*expected an object as"),
    ('{"file": "1.png", "text": ["a"]}', r"row 2.*\['a'\] as text"),
    ('[' * 100_000, r"row 2.*found '\[\[\[.*expected an object"),
    ('{"file": "1.png", "text": "\\ud800"}', r'row 2.*U\+D800'),
  ],
)
def test_json_that_is_no_label(read, row, message):
  table = '{"file": "2.png", "text": "1"}\n' + row
  with pytest.raises(UserError, match=message):
    read(table, name='labels.jsonl')


def test_metadata_of_an_image_folder(read):
  files = ['train/a.png', 'Test/a.png']
  row = '{"file_name": "a.png", "text": "1"}'
  read(row, name='train/metadata.jsonl', files=files)
  table = 'file_name,text\na.png,2\n'
  found = read(table, name='Test/metadata.csv', files=files)
  assert _texts(found) == {'train/a.png': '1', 'Test/a.png': '2'}
  assert found.splits == {'train/a.png': 'train', 'Test/a.png': 'test'}
  assert found.found['Test/a.png'].where == 'Test/metadata.csv row 2'


def test_a_row_without_a_text_removes_no_label_of_another_table(read):
  files = ['test/a.png', 'b.png']
  read('file,text\ntest/a.png,1\n', files=files)
  found = read('file,text\na.png,\n', name='test/labels.csv', files=files)
  assert _texts(found) == {'test/a.png': '1'}


def test_of_two_tables_one_is_read(read):
  read('file_name,text\n1.png,2\n', name='metadata.csv')
  found = read('file,text\n1.png,1\n')
  assert _texts(found) == {'1.png': '1'}
  (warning,) = found.warnings
  assert warning == 'labels.csv has the labels; metadata.csv is not read.'
  with pytest.raises(UserError, match=r'labels\.csv and labels\.tsv'):
    read('file\ttext\n1.png\t1\n', name='labels.tsv')


def test_empty_rows_are_no_labels(read):
  found = read(TABLE + '\n,\n,,,\n\n , \n20.png,\n', files=[*FILES, '20.png'])
  assert _texts(found) == EXPECTED
  (warning,) = found.warnings
  assert 'no text, so no label in 1 row (26)' in warning


def test_texts_are_mended_and_said(read):
  texts = {
    '1.png': 'a ', '2.png': '\tb', '3.png': 'c\u00a0', '4.png': '4\u00a04',
    '5.png': '\u200b5\ufeff5', '6.png': 'e\u0301', '7.png': 'ok',
  }  # fmt: skip
  rows = [f'{name},"{text}"' for name, text in texts.items()]
  found = read('\n'.join(['file,text', *rows]))
  expected = ['a', 'b', 'c', '4 4', '55', 'é', 'ok']
  assert list(_texts(found).values()) == expected
  said = '\n'.join(found.warnings)
  assert 'spaces around the text were removed in 3 rows (2, 3, 4)' in said
  assert 'no-break spaces became spaces in 2 rows (4, 5)' in said
  assert 'no width were removed in 1 row (6)' in said
  assert 'composed (NFC) in 1 row (7)' in said
  assert unicodedata.is_normalized('NFC', found.found['6.png'].text)


def test_joiners_stay_where_they_matter(read):
  persian = '\u0645\u06cc\u200c\u062e\u0648'
  found = read(f'file,text\n1.png,{persian}\n2.png,a\u200cb\n')
  assert _texts(found) == {'1.png': persian, '2.png': 'ab'}


@pytest.mark.parametrize(
  ('texts', 'said'),
  [
    (['1.23457E+11'], r"scientific notation \(22: '1\.23457E\+11'\)"),
    (['4812.0'], r"with \.0 \(22: '4812\.0'\)"),
    (["'0048"], r"""apostrophe .* \(22: "'0048"\)"""),
    (['5-Jan', '2024-03-01'], r"dates \(22: '5-Jan', 23: '2024-03-01'\)"),
    (['#N/A', '#####'], r"errors .* \(22: '#N/A', 23: '#####'\)"),
    (['7'], r"lost zeros in front \(22: '7'\)"),
  ],
)
def test_what_a_spreadsheet_broke_is_suspected(read, texts, said):
  files = [*FILES, 'a.png', 'b.png']
  rows = [f'{n}.png,{text}' for n, text in zip('ab', texts, strict=False)]
  found = read('\n'.join([TABLE, *rows]), files=files)
  (warning,) = found.warnings
  assert 'spreadsheet' in warning
  assert re.search(said, warning)
  assert found.found['a.png'].text == texts[0]  # which is left as it is


@pytest.mark.parametrize(
  'texts',
  [
    [f'{4**i % 100_000}' for i in range(20)],  # of every length
    [f'{i:02}' for i in range(19)] + ['7'],  # zeros are there
    [f'{i + 10}.0' for i in range(19)] + ['7.5'],
    [f'2024-03-{i + 1:02}' for i in range(20)],
    ['1E5', 'nan1', '12-34', *[f'abc{i}' for i in range(17)]],
  ],
)
def test_what_images_may_show_is_not_suspected(read, texts):
  rows = [f'{n},{text}' for n, text in zip(FILES, texts, strict=True)]
  assert not read('\n'.join(['file,text', *rows])).warnings


@pytest.mark.parametrize(
  ('name', 'file'),
  [
    ('sub\\a.png', 'sub/a.png'),
    ('.\\sub\\a.png', 'sub/a.png'),
    ('sub/a', 'sub/a.png'),
    ('sub/A.PNG', 'sub/a.png'),
    ('sub/a.jpg', 'sub/a.png'),
    (' sub/a.png ', 'sub/a.png'),
    ('C:\\my\\sub\\a.png', 'sub/a.png'),
    ('/home/me/sub/a.png', 'sub/a.png'),
    ('v1.2', 'v1.2.png'),
    ('e\u0301.png', 'é.png'),
  ],
)
def test_a_name_that_means_one_file(read, name, file):
  files = ['sub/a.png', 'v1.2.png', 'é.png', 'b.png']
  found = read(f'file,text\n"{name}",1\n', files=files)
  assert _texts(found) == {file: '1'}
  assert f'another spelling in 1 row (2: {file})' in found.warnings[0]


@pytest.mark.parametrize('name', ['a', 'A.png', 'a.bmp'])
def test_a_name_that_may_mean_two_files(read, name):
  files = ['a.jpg', 'a.gif', 'x/A.png']
  with pytest.raises(UserError, match=r'no such file.*nearest.*a\.jpg'):
    read(f'file,text\n{name},1\n', files=files)
  assert _texts(read('file,text\na.jpg,1\n', files=files)) == {'a.jpg': '1'}


def test_rows_that_repeat_others(read):
  found = read(TABLE + '\n3.png,22\n3,22\n3.png,\n')
  assert _texts(found) == EXPECTED
  said = '\n'.join(found.warnings)
  assert 'a row before it says the same in 2 rows (22, 23)' in said
  message = (
    r"row 22, '3\.png': found twice, first in row 5 with the text '22', now "
    "with '23'"
  )
  with pytest.raises(UserError, match=message):
    read(TABLE + '\n3.png,23\n')


def test_a_table_elsewhere_corrects_the_folders_own(read, tmp_path):
  read(TABLE)
  other = tmp_path / 'elsewhere' / 'mended.csv'
  other.parent.mkdir()
  other.write_text('file,text\n1.png,x\n2.png,\n1.png,y\n30.png,new\n')
  files = [*FILES, '30.png']
  found = read(files=files, labels=str(other))
  expected = EXPECTED | {'1.png': 'y', '30.png': 'new'}
  del expected['2.png']
  assert _texts(found) == expected
  assert found.found['1.png'].where == 'mended.csv row 4'
  assert found.warnings[-1] == (
    'mended.csv adds 1 labels, changes 1 and removes 1.'
  )
  (tmp_path / 'last.csv').write_text('file,text\n1.png,z\n')
  found = read(files=files, labels=f'{other}+last.csv')
  assert found.found['1.png'].text == 'z'
  # A path is a path, whatever is in it, and the own table corrects nothing.
  (tmp_path / 'a+b.csv').write_text('file,text\n1.png,w\n')
  assert read(files=files, labels='a+b.csv').found['1.png'].text == 'w'
  assert not read(files=files, labels='labels.csv').warnings


def test_corrections_mend_what_could_not_be_used(read, tmp_path):
  read(TABLE.replace('0.png,10', '0.png,lO'))
  with pytest.raises(UserError, match="found 'l'"):
    read(charset='0123456789')
  (tmp_path / 'mended.csv').write_text('file,text\n0.png,10\n')
  found = read(charset='0123456789', labels='mended.csv')
  assert _texts(found) == EXPECTED


def test_a_table_that_is_not_there(read):
  with pytest.raises(UserError, match=r"no file 'name'.*Did you mean 'names'"):
    read(labels='name')
  with pytest.raises(UserError, match='not both'):
    read(labels='names+folders')


def test_a_table_by_another_name_is_pointed_at(read):
  (warning,) = read('a,b', name='annotations.csv').warnings
  assert 'labels=annotations.csv' in warning


def test_texts_in_file_names(read, tmp_path):
  files = ['ab12_1f.png', 'x/Cd_1_2.png', 'ef.png', '_7.png']
  found = read(files=files, labels='names')
  expected = {'ab12_1f.png': 'ab12', 'x/Cd_1_2.png': 'Cd', 'ef.png': 'ef'}
  assert _texts(found) == expected
  assert found.found['ef.png'].where == 'the text in its name'
  assert '1 file names have no _' in found.warnings[0]
  assert not read(files=files[:2], labels='names').warnings
  (tmp_path / 'mended.csv').write_text('file,text\nef.png,EF\n')
  found = read(files=files, labels='names+mended.csv')
  assert _texts(found) == expected | {'ef.png': 'EF'}


def test_texts_in_folder_names(read):
  files = ['48/1.png', 'x/52/1.png', '1.png', 'test/2.png', 'test/48/2.png']
  found = read(files=files, labels='folders')
  expected = {'48/1.png': '48', 'x/52/1.png': '52', 'test/48/2.png': '48'}
  assert _texts(found) == expected


def test_splits_in_a_column(read):
  rows = ['file,text,Split', '1.png,a,TRAIN', '2.png,b,val', '3.png,c,testing']
  found = read('\n'.join([*rows, '4.png,d,', '5.png,,test']))
  assert found.splits == {
    '1.png': 'train',
    '2.png': 'validation',
    '3.png': 'test',
    '5.png': 'test',
  }
  with pytest.raises(UserError, match=r"split 'tset', expected one of train"):
    read('\n'.join([*rows, '4.png,d,tset']))
  found = read('1.png,a,train\n2.png,b,test\n')
  assert found.splits == {'1.png': 'train', '2.png': 'test'}


@pytest.mark.parametrize('start', [b'PK\x03\x04', b'\xd0\xcf\x11\xe0'])
def test_a_spreadsheet_is_named(read, start):
  with pytest.raises(UserError, match=r'spreadsheet.*Save the sheet as CSV'):
    read(start + b'\0' * 100)


def test_a_table_that_cannot_be_read(read):
  with pytest.raises(UserError, match=r'unreadable.*UTF-8'):
    read(b'\xff\xfefile,text')
  with pytest.raises(UserError, match=r'quotation mark that is not closed'):
    read('file,text\n1.png,"a\n2.png,b\n')
  with pytest.raises(UserError, match=r'unreadable \(field larger'):
    read(f'file,text\n1.png,{"x" * 200_000}\n')


def test_configs_know_the_same_names():
  names = [name for group in label_files.NAMES for name in group]
  assert tuple(names) == common.LABEL_FILES
  words = [word for known in splits.WORDS.values() for word in known]
  assert tuple(words) == common.SPLIT_FOLDERS


def test_configs_see_labels_where_they_are_read(read, tmp_path):
  assert not common.has_labels(str(tmp_path / 'nowhere'))
  for name in ('other/labels.csv', 'labels.md', '.labels.csv'):
    read('', name=name) if '/' not in name else (tmp_path / 'other').mkdir()
    (tmp_path / name).write_text('')
    assert not common.has_labels(str(tmp_path))
  assert common.has_labels(str(tmp_path), 'names')
  (tmp_path / 'Test').mkdir()
  for name in ('Test/Metadata.JSONL', 'LABELS.tsv'):
    (tmp_path / name).write_text('')
    assert common.has_labels(str(tmp_path)), name
    tables, _ = label_files.own_tables(tmp_path)
    assert tables == [tmp_path / name]
    (tmp_path / name).unlink()


def test_a_sheet_beside_the_images_is_to_be_saved_as_csv(read, tmp_path):
  (tmp_path / 'Codes.XLSX').write_bytes(b'PK')
  (said,) = read().warnings
  assert 'Codes.XLSX' in said and 'save it as labels.csv' in said
  assert 'labels=' not in said  # it would only be refused
  (tmp_path / 'codes.csv').write_text('')
  assert 'add labels=codes.csv' in read().warnings[0]


PIECES = [
  *('file,text', 'File;Text', 'filename\tlabel', 'file,text,split', 'sep=;'),
  *('0.png', '1', 'sub\\2.png', '2.PNG', '../x', '/', '.', '..', 'a/', '\x00'),
  *(',', ';', '\t', '|', '"', "'", '\n', '\r', '\r\n', '\n\n', ' ', '\u00a0'),
  *('é', 'e\u0301', '\u200d', '\ufeff', '\ud800', '中', '\x85', '\u2028', '😀'),
  *('1.2E+05', '0048', '12', '9' * 400, '#N/A', 'test', 'val', 'nan', ''),
  *(
    '{"file": "1.png", "text": "7"}',
    '{',
    '}',
    '[',
    ']',
    ':',
    'null',
    '"text"',
  ),
]
CODECS = ('utf-8', 'utf-8-sig', 'utf-16', 'utf-16-le', 'utf-32', 'cp1252')


def _fuzzed(rng):
  """A table of random pieces, or one that is right but for some bytes."""
  if rng.random() < 0.5:
    text = ''.join(rng.choices(PIECES, k=rng.randrange(60)))
  else:
    lines = rng.choices([*LINES, *PIECES], k=rng.randrange(1, 30))
    text = '\n'.join(['file,text', *lines])
  data = bytearray(text.encode(rng.choice(CODECS), 'replace'))
  for _ in range(rng.choice([0, 0, 1, 5])):
    if data:
      at = rng.randrange(len(data))
      data[at : at + rng.randrange(3)] = rng.randbytes(rng.randrange(3))
  return bytes(data)


@pytest.fixture
def measured():
  """Measures processor time in seconds and Python's memory in bytes.

  What runs beside the tests changes neither.
  """

  @contextlib.contextmanager
  def measure():
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    start = time.process_time()
    try:
      yield found
    finally:
      seconds = time.process_time() - start
      found.append((seconds, tracemalloc.get_traced_memory()[1] - before))

  found = []
  tracemalloc.start()
  yield measure
  tracemalloc.stop()


def test_no_table_ends_in_another_error(read, tmp_path, measured):
  """Nor takes long; SSLJAX_FUZZ=10000 tries more of them."""
  used = refused = 0
  for seed in range(int(os.environ.get('SSLJAX_FUZZ', 300))):
    rng = random.Random(seed)
    name = rng.choice([name for each in label_files.NAMES for name in each])
    table = _fuzzed(rng)
    options = {
      'charset': rng.choice(['', '0123456789']),
      'labels': rng.choice(['', 'names', 'folders', name, f'names+{name}']),
    }
    files = [*FILES, 'sub/2.png', '\udcff.png', 'e\u0301.png']
    try:
      with measured() as taken:
        found = read(table, name=name, files=files, **options)
    except UserError as error:
      str(error).encode(errors='surrogatepass')
      refused += 1
    else:
      json.dumps(found.warnings)
      used += bool(found.found)
      assert all(label.text for label in found.found.values())
    (tmp_path / name).unlink()
  assert used and refused
  seconds, memory = zip(*taken, strict=True)
  assert max(seconds) < 2 and max(memory) < 2**30
