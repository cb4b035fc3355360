"""`python -m ssljax.recognize`: its rows, its resuming and its exit status."""

import csv
import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from ssljax import reader, recognize, rows
from ssljax.data import inputs
from ssljax.decoding import Constraint, Reading
from ssljax.errors import UserError


class Shades:
  """Reads an image's shade as a text, with a hundredth of it as confidence."""

  def __init__(self):
    self.read, self.options = [], []

  def outcomes(self, images, *, min_confidence, **options):
    self.options.append(options)
    Constraint(options['charset'])  # as the reader checks it

    def outcome(image):
      shade = int(np.asarray(inputs.picture(image))[0, 0, 0])
      self.read.append(shade)
      sure = shade / 100
      if sure < min_confidence:
        return Reading('', sure)
      several = [(f'{shade}', sure), (f'{shade},x', sure / 2)]
      several = several if options['top'] > 1 else []
      return Reading(f'{shade}', sure, [sure] * len(f'{shade}'), several)

    return inputs.prepared(inputs.each(images), outcome)


@pytest.fixture
def shades(monkeypatch):
  made = Shades()
  monkeypatch.setattr(reader, 'load', lambda workdir, stage=None: made)
  return made


@pytest.fixture
def folder(tmp_path):
  """Three images, of the shades 10, 20 and 30, and one that is broken."""
  path = tmp_path / 'images'
  path.mkdir()
  for shade in (10, 20, 30):
    Image.new('L', (4, 4), shade).save(path / f'{shade}.png')
  (path / '25.png').write_bytes(b'broken')
  return path


def _run(*arguments):
  return recognize.main(['RUN', *map(str, arguments)])


def test_a_row_an_image_in_the_order_of_the_arguments(shades, folder, capsys):
  names = [folder / f'{shade}.png' for shade in (30, 10)]
  assert _run(*names, folder / '20.png') == 0
  out, err = capsys.readouterr()
  assert out.splitlines() == [
    f'{shade}\t0.{shade}00\t{folder}/{shade}.png' for shade in (30, 10, 20)
  ]
  assert err == ''


def test_no_bar_runs_through_the_rows(tmp_path, monkeypatch):
  with (tmp_path / 'log').open('w') as log, (tmp_path / 'b').open('w') as table:
    for out, err, same in ((log, log, True), (table, log, False)):
      monkeypatch.setattr(sys, 'stdout', out)
      monkeypatch.setattr(sys, 'stderr', err)
      assert recognize.one_screen() is same
    monkeypatch.setattr(sys, 'stdout', io.StringIO())
    assert not recognize.one_screen()


def test_a_folder_and_names_from_standard_input(
  shades, folder, capsys, monkeypatch
):
  lines = f'{folder}/30.png\r\n\n{folder}/10.png\n'.encode()
  monkeypatch.setattr(sys, 'stdin', io.TextIOWrapper(io.BytesIO(lines)))
  assert _run(folder, '-') == 1
  out, err = capsys.readouterr()
  assert [row.split('\t')[0] for row in out.splitlines()] == [
    '10', '20', '30', '30', '10'
  ]  # fmt: skip
  assert '25.png: found no' in err and '1 could not be read' in err


def test_csv_and_json_lines(shades, folder, capsys):
  flags = '--top=3', '--characters', folder / '20.png'
  assert _run('--format=csv', *flags) == 0
  head, row = csv.reader(capsys.readouterr().out.splitlines())
  assert dict(zip(head, row, strict=True)) == {
    'file': f'{folder}/20.png',
    'text': '20',
    'confidence': '0.2000',
    'text_2': '20,x',
    'confidence_2': '0.1000',
    'text_3': '',
    'confidence_3': '',
    'characters': '0.2000 0.2000',
  }
  assert _run('--format=jsonl', *flags) == 0
  assert json.loads(capsys.readouterr().out) == {
    'file': f'{folder}/20.png',
    'text': '20',
    'confidence': 0.2,
    'top': [['20', 0.2], ['20,x', 0.1]],
    'characters': [0.2, 0.2],
  }


def test_constraints_reach_the_reader(shades, folder, tmp_path):
  lexicon = tmp_path / 'words'
  lexicon.write_text('\ufeffone\r\ntwo \n\n')
  flags = '--charset=digits', '--length=4-6', '--pattern=DD-D', '--top=2'
  assert _run(folder / '10.png', *flags, f'--lexicon={lexicon}') == 0
  assert shades.options[-1] == {
    'charset': 'digits',
    'length': (4, 6),
    'pattern': 'DD-D',
    'top': 2,
    'lexicon': ['one', 'two'],
  }


def test_a_doubtful_reading_is_empty(shades, folder, capsys):
  names = [folder / f'{shade}.png' for shade in (10, 20, 30)]
  assert _run('--min_confidence=0.2', *names) == 0
  out, err = capsys.readouterr()
  assert [row.split('\t')[0] for row in out.splitlines()] == ['', '20', '30']
  assert '1 of them left empty as doubtful' in err


def test_a_bad_image_stops_where_that_is_asked(shades, folder, capsys):
  assert _run('--errors=stop', folder) == 1
  out, err = capsys.readouterr()
  assert [row.split('\t')[0] for row in out.splitlines()] == ['10', '20']
  assert '25.png' in err and '2 images read' in err


@pytest.mark.parametrize(
  ('kind', 'torn'),
  [*((kind, torn) for kind in rows.FORMATS for torn in ('', '10')),
   ('csv', '"a\nb""c\n')],
)  # fmt: skip
def test_a_folder_that_grows(shades, folder, tmp_path, kind, torn):
  """A row that a kill tore is written anew, and no image is read twice."""
  (folder / '25.png').unlink()
  # A name with all that separates cells and rows, and one that is no UTF-8.
  odd = [folder / 'a\t"b\n,\\n.png', folder / os.fsdecode(b'\xff.png')]
  for shade, name in zip((40, 50), odd, strict=True):
    Image.new('L', (4, 4), shade).save(name, 'PNG')
  output = tmp_path / 'readings'
  flags = folder, f'--format={kind}', f'--output={output}', '--resume'
  assert _run(*flags) == 0
  first = output.read_bytes()
  assert sorted(shades.read) == [10, 20, 30, 40, 50]
  output.write_bytes(first + torn.encode())
  for shade in (60, 70):
    Image.new('L', (4, 4), shade).save(folder / f'z{shade}.png')
  assert _run(*flags) == 0
  assert sorted(shades.read[5:]) == [60, 70]  # threads decode
  assert output.read_bytes().startswith(first)
  assert _run(*flags) == 0
  assert len(shades.read) == 7
  assert _run(*flags[:-1]) == 0  # all of them anew
  assert len(shades.read) == 14


def test_rows_of_another_layout_are_not_mixed(shades, folder, tmp_path, capsys):
  output = tmp_path / 'readings'
  given = f'--output={output}', '--resume', folder / '10.png'
  assert _run('--format=csv', *given) == 0
  before = output.read_bytes()
  for other in (['--format=csv', '--top=2'], ['--format=jsonl'], []):
    assert _run(*other, *given) == 2
    assert 'expected those of the same command' in capsys.readouterr().err
  assert output.read_bytes() == before


def test_rows_are_there_as_soon_as_they_are_read(
  shades, folder, tmp_path, monkeypatch
):
  output = tmp_path / 'readings'

  def interrupted(arguments):
    yield folder / '10.png'
    for _ in range(2 * inputs.AHEAD):
      yield folder / '20.png'
    raise KeyboardInterrupt

  monkeypatch.setattr(recognize, 'named', interrupted)
  assert _run('-', f'--output={output}') == 130
  assert output.read_text().startswith(f'10\t0.1000\t{folder}/10.png\n')


@pytest.mark.parametrize(
  ('flags', 'said'),
  [
    (['--length=6-4'], 'expected a number of characters'),
    (['--min_confidence=90'], 'expected 0 to 1'),
    (['--top=0'], 'expected 1 or more'),
    (['--format=xml'], 'invalid choice'),
    (['--lenght=4'], 'unrecognized arguments'),
    (['--resume'], 'Found --resume without --output'),
    (['--lexicon=nowhere'], 'lexicon nowhere unreadable'),
    (['--output=no/where'], 'no/where cannot be written'),
  ],
)
def test_a_mistake_is_a_line(shades, flags, said, capsys):
  try:
    status = _run('x.png', *flags)
  except SystemExit as left:
    status = left.code
  assert status == 2
  assert said in capsys.readouterr().err
  assert not shades.read


def test_a_refused_constraint_leaves_the_output(
  shades, folder, tmp_path, monkeypatch, capsys
):
  def refuse(images, **options):
    raise UserError('Found no text that fits')

  monkeypatch.setattr(shades, 'outcomes', refuse)
  output = tmp_path / 'readings'
  output.write_text('precious')
  assert _run(folder, f'--output={output}') == 2
  assert 'UserError: Found no text' in capsys.readouterr().err
  assert output.read_text() == 'precious'


@pytest.mark.slow  # starts processes
def test_nobody_reads_the_output(tmp_path):
  """As behind `head -1`; there is a line, and no traceback."""
  program = (
    'import sys\n'
    'from ssljax import recognize, reader\n'
    'from ssljax.decoding import Reading\n'
    'class Many:\n'
    '  def outcomes(self, images, **options):\n'
    '    return (Reading("x" * 999, 1.0) for _ in images)\n'
    'reader.load = lambda *_, **__: Many()\n'
    'recognize.named = lambda _: iter(map(str, range(9999)))\n'
    'sys.exit(recognize.main(["RUN", "x.png"]))\n'
  )
  process = subprocess.Popen(
    [sys.executable, '-c', program],
    stdout=subprocess.PIPE,
    stderr=subprocess.PIPE,
  )
  assert process.stdout and process.stderr
  process.stdout.readline()
  process.stdout.close()
  said = process.stderr.read().decode()
  process.stderr.close()
  assert process.wait(timeout=60) == 141
  assert 'Traceback' not in said and 'nobody reads' in said
