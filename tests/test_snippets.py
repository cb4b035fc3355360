"""Every command and every program of the docs does what they say.

What trains runs at the smoke scale. Of what takes hours, a network or a cloud,
the arguments are checked. Each command is tried once, where it stands first.
"""

import contextlib
import csv
import functools
import glob
import importlib
import inspect
import io
import itertools
import os
import pathlib
import re
import shlex
import subprocess
import sys
import tomllib
import warnings
from unittest import mock

import making
import numpy as np
import pytest
import snippets
from absl.testing import flagsaver
from PIL import Image, ImageDraw
from snippets import ROOT, Snippet
from test_export import WITHOUT_JAX

from configs import simclr_images
from ssljax import flags, forecast, main, parity, stage, weights
from ssljax.data.labels import read_labels
from ssljax.data.layouts import classic
from ssljax.records import read_json, write_json

# Defines flags, which `flagsaver` would forget otherwise.
importlib.import_module('grain.python')
slow = pytest.mark.slow  # trains
BLOCKS = [block for page in snippets.PAGES for block in snippets.blocks(page)]
AFTERNOON = snippets.commands(ROOT / 'docs' / 'afternoon.md')
DONE = [each.text.partition(' --out=')[0] for each in AFTERNOON]
OTHERS = [
  command
  for page in snippets.PAGES
  for command in snippets.commands(page) + snippets.inline(page)
  if command.text.partition(' --out=')[0] not in DONE
]
# What is not tried here, and what stands for it.
ELSEWHERE = {
  'pytest|pre-commit install$': 'it runs this test',
  'mkdocs ': 'test_site.py builds the site',
  r'python -m ssljax\.main --help$': 'test_main.py reads it',
  'docker build -f launch/Dockerfile ': 'nothing; it needs a network',
  'python -m venv ': 'a process that cannot import JAX',
  r'ssljax/\n|\d  main\b': 'test_imports.py compares these blocks',
  'pretrain/checkpoints/ ': 'a newcomer looks for these files, below',
  r'python -m ssljax\.export .* --names=torch': 'test_export.py, by a ResNet',
  r'pretrain: +45%': 'test_log.py compares a bar',
}
# Data sets that tensorflow-datasets would have to prepare.
PREPARED = re.compile('dataset=(?!glyphs|digits)')
# Where a program only defines something, what that has to fit.
FITS = {
  '-> Method:': 'NAME(None, None, views=None, instances=None)',
  'return picture,': 'assert arguments(NAME) == arguments(classic.arcs)',
}
STAGES = ('pretrain', 'head', 'finetune', 'self_train')
EXPORT = 'python -m ssljax.export RUN SHIPPED --format=safetensors'


def each_once(found):
  """Parameters of a test, named by where they stand first."""
  first = {each.text: each for each in reversed(list(found))}
  return [
    pytest.param(each, id=each.where, marks=slow if needs_house(each) else ())
    for each in reversed(first.values())
  ]


def arguments(function):
  return list(inspect.signature(function).parameters)


def needs_house(snippet):
  trains = r'python -m ssljax\.|python SHIPPED/|find '
  return snippet.kind == 'python' or re.match(trains, snippet.text)


def run(command: Snippet) -> str:
  """Tries a command in the current folder; returns what it prints."""
  printed = ''
  try:
    for each in command.text.split(' | '):
      if re.match('|'.join(ELSEWHERE), each):
        continue
      known = [rule for begin, rule in RULES.items() if re.match(begin, each)]
      assert known, f'Found {each!r}, which no rule tries. Add one to RULES.'
      printed = known[0](shlex.split(each), printed)
  except Exception as error:
    error.add_note(f'at {command.where}: {command.text}')
    raise
  return printed


def called(function, given='') -> str:
  """What a command prints, as a function that returns or exits with 0."""
  out, stdin = io.StringIO(), io.TextIOWrapper(io.BytesIO(given.encode()))
  with contextlib.redirect_stdout(out), mock.patch.object(sys, 'stdin', stdin):
    try:
      status = function()
    except SystemExit as left:
      status = left.code
  assert not status, status
  return out.getvalue()


def installed(words, _):
  """The extras are those of pyproject.toml."""
  project = tomllib.loads((ROOT / 'pyproject.toml').read_text())['project']
  for asked in re.findall(r'\.\[(.*)\]', ' '.join(words)):
    assert set(asked.split(',')) <= set(project['optional-dependencies']), asked
  return ''


def module(words, given=''):
  """Runs a module of ssljax in this process."""
  names = [sorted(glob.glob(word)) or [word] for word in words[3:]]
  function = importlib.import_module(words[2]).main
  return called(lambda: function([*itertools.chain(*names)]), given)


def rounded(words, given=''):
  """Exports in few bits, though a random reader reads otherwise with them."""
  with mock.patch.object(parity, 'LOST', 2.0):
    return module(words, given)


def system(words, _):
  return subprocess.check_output(words, text=True)


def shipped(words, _=''):
  """Runs a script of an export where JAX cannot be imported."""
  return system([sys.executable, '-c', WITHOUT_JAX, *words[1:]], '')


def config_of(source: str):
  file, _, argument = source.partition(':')
  assert (ROOT / file).is_file(), f'Found no {file}'
  module = importlib.import_module(f'configs.{pathlib.Path(file).stem}')
  return module.get_config(argument or None)


def checked(words) -> str:
  """Checks a recipe by its names; returns its file and argument."""
  source = flags.config_argument(['', *words])
  config = config_of(source)
  if 'data=' not in source:  # whose folder is opened first
    making.check(config)
  return source


def recipe(words, _):
  """A recipe as it is typed; and what it would do at the smoke scale."""
  if PREPARED.search(checked(words)):
    return ''
  data_dir = f'--data_dir={os.environ["SSLJAX_DATA_DIR"]}'
  return dry(*at_smoke(words), '--workdir=dry', data_dir, '--dry_run')


def at_smoke(words) -> list[str]:
  """The arguments of a recipe at the smoke scale, of one seed and draw."""
  file, _, argument = flags.config_argument(words).partition(':')
  items = [item for item in argument.split(',') if '=' in item]
  items = [item for item in items if not re.match('seeds=|draws=', item)]
  items.insert(0, 'smoke')
  for once in ('seeds=1', 'draws=1'):
    with contextlib.suppress(ValueError):  # of a recipe that has no such option
      config_of(f'{file}:{",".join([*items, once])}')
      items.append(once)
  # On one device, as a user's CPU is.
  small = [f'--config={file}:{",".join(items)}', '--config.mapping=jit']
  small += ['--config.encoder.width=8'] * ('encoder=resnet' in argument)
  return [*small, *flags.without(words[3:], 'config')]


@functools.cache
def dry(*arguments) -> str:
  return trained(arguments)


def trained(arguments) -> str:
  """Runs `python -m ssljax.main` in this process."""
  argv = ['ssljax.main', *arguments]
  with (
    flagsaver.flagsaver(),
    mock.patch.object(sys, 'path', [*sys.path]),
    mock.patch.object(sys, 'argv', argv),  # where overrides are looked for
    # These take longer than the rest of a short run.
    mock.patch.object(stage, 'cost_of', lambda *_, **__: lambda n: 1e9 * n),
    mock.patch.object(forecast, 'state_bytes', lambda stage: 1),
    mock.patch.object(forecast, 'speed', lambda: 1e9),
    warnings.catch_warnings(),
  ):
    warnings.filterwarnings('ignore', 'the load_module', DeprecationWarning)
    return called(lambda: main.main(flags.parse_flags(argv)))


def launched(words, _):
  """A script says what it would run, and the recipe is one."""
  told = {'N': '2', '--config=...': '--config=configs/simclr_ocr.py'}
  words = [told.get(word, word) for word in words if word != 'sbatch']
  options = [word for word in words if word.startswith('--')]
  checked(options)
  (name,) = (word for word in words if word.startswith('launch/'))
  begin = words.index(name)
  words[begin : begin + 1] = ['bash', str(ROOT / name), '--dry-run']
  printed = system(['env', *words], '')
  assert ' '.join(options) in printed, printed
  return printed


def script(words, _):
  """A script takes these arguments; other tests run it at a small size.

  Its parser has the flags and the first word, or else a usage in its docstring
  has all arguments.
  """
  text, given = (ROOT / words[1]).read_text(), words[2:]
  if re.search(r'\b_(folders|rows)\.', text):  # parsers, and names of rows
    shared = sorted((ROOT / 'benchmarks').glob('_*.py'))
    text += ''.join(path.read_text() for path in shared)
  if 'argparse' in text:
    named = [word for word in given if word.startswith('--')] + given[:1]
    named = {word.partition('=')[0] for word in named} - {'ROW', 'PAGE'}
    assert named <= set(re.findall(r"'([\w-]+)'", text)), f'Found {named}'
    return ''
  usages = re.findall(rf'python {words[1]}(.*)', text)
  fits = [re.split(' {3,}', usage)[0] for usage in usages]
  fits = [re.sub(r' \[\w+\]', r'( \\S+)?', each) for each in fits]
  fits = [re.sub(r' [A-Z][\w.]*', r' [^-\\s]\\S*', each) for each in fits]
  given = ''.join(f' {word}' for word in given)
  assert any(re.fullmatch(each, given) for each in fits), (
    f'Found {given!r}; expected one of {usages}, as the docstring says.'
  )
  return ''


# The first that matches the beginning of a command tries it.
RULES = {
  '(plain/bin/)?pip install ': installed,
  r'python -m ssljax\.main --': recipe,
  r'python -m ssljax\.export .*--precision=': rounded,
  r'python -m ssljax\.\w+ ': module,
  '(plain/bin/)?python SHIPPED/': shipped,
  r'python (benchmarks|docs/draw|tests)/\w+\.py': script,
  r'(sbatch |[A-Z]+=\S+ )*launch/\w+\.s': launched,
  'find ': system,
}


def draw(path, text, size=(72, 24)):
  path.parent.mkdir(parents=True, exist_ok=True)
  image = Image.new('RGB', size, 'white')
  ImageDraw.Draw(image).text((4, 4), text, fill=0, font_size=15)
  image.save(path)


def table(path, rows):
  with path.open('w', newline='') as file:
    csv.writer(file).writerows([('file', 'text'), *rows])


@pytest.fixture(scope='module')
def house(tmp_path_factory):
  """A newcomer's folder after the afternoon, and what each command printed."""
  place, rows = tmp_path_factory.mktemp('house'), []
  for number in range(32):
    text = ('1234', '70707', '888888', '2211')[number % 4]
    rows.append((f'{text}_{number:02}.png', text))
    draw(place / 'DIR' / rows[-1][0], text, (72 + number % 3, 24))
  table(place / 'DIR' / 'labels.csv', rows[:24])
  files = 'new/1.png', 'new/2.jpg', 'scans/a.jpg', 'folder/1.png', 'more/1.png'
  for name in (*files, 'image.png', 'a.png', 'b.jpg'):
    draw(place / name, '1234')
  (place / 'configs').symlink_to(ROOT / 'configs')
  with pytest.MonkeyPatch.context() as patch:
    patch.setenv('SSLJAX_DATA_DIR', str(place / 'data'))
    with contextlib.chdir(place):
      printed = [in_the_afternoon(command) for command in AFTERNOON]
    (place / 'WORKDIR').symlink_to('RUN')
    (place / 'runs' / 'simclr_ocr-laptop-1a2b3c4d').symlink_to('../RUN')
    yield place, printed


def in_the_afternoon(command):
  """Runs a command, and does what the page says between the commands."""
  trains = ' ssljax.main ' in command.text
  printed = trained(small(command)) if trains else run(command)
  if found := re.search('Trained run: (.*)', printed):
    name = 'OTHER' if pathlib.Path('RUN').exists() else 'RUN'
    pathlib.Path(name).symlink_to(found[1])
  if ' ssljax.review ' in command.text:  # the button of the page
    page = pathlib.Path('RUN/review.html').read_text(encoding='utf-8')
    files = re.findall('data-file="([^"]*)" data-label=""', page)
    rows = [(file, file.partition('_')[0]) for file in files[:4]]
    table(pathlib.Path('corrections.csv'), rows)
  return printed


def small(command):
  """A newcomer's run: few steps, and without what takes longest to compile.

  No reader is trained, because a random one reads something in every image.
  """
  taking = 'take=' in command.text
  words = at_smoke(
    shlex.split(command.text.replace('DIR', 'DIR,compare=False'))
  )
  for each in STAGES[taking:]:
    options = {'steps': 2, 'batch_size': 8, 'views.strokes': 0}
    if each != 'pretrain':
      options['optimizer.learning_rate'] = 0.0
    words += [f'--config.{each}.{key}={options[key]}' for key in options]
  return [*words, '--noreport']


@pytest.fixture(scope='module')
def images(house, tmp_path_factory):
  """The same for recipes on images: a folder of classes, weights and a run."""
  place = tmp_path_factory.mktemp('images')
  for number in range(30):
    name = 'abc'[number % 3]
    draw(place / 'DIR' / name / f'{number}.png', name, (32, 32))
  (place / 'configs').symlink_to(ROOT / 'configs')
  config = simclr_images.get_config('smoke,data=DIR,size=64,encoder=resnet50')
  config.encoder.width, config.data.classes = 8, ('a', 'b', 'c')
  batch = {'image': np.zeros((8, 64, 64, 3), np.uint8)}
  batch['index'] = np.arange(8, dtype=np.int32)
  params, state = making.arrays(making.method(config, 'pretrain'), batch)
  making.save(place / 'RUN', config, 'pretrain', params, state)
  write_json(place / 'RUN' / 'config.json', config.to_dict())
  encoder = params['encoder'], state['batch_stats']['encoder']
  made = weights.encoder_weights(*encoder, height=64, width=64)
  for name in ('FILE', 'resnet50', 'net'):
    weights.write_weights(place / f'{name}.safetensors', *made)
  return place


@pytest.fixture
def furnish(request, tmp_path, monkeypatch):
  """Goes to a new folder that has what the docs name, but for what is made."""

  def of(snippet):
    text = snippet.text
    place, _ = request.getfixturevalue('house')
    if '_images.py:data' in text or snippet.where.startswith('docs/weights'):
      place = request.getfixturevalue('images')
    opened = re.search(r"load\('SHIPPED|recognize SHIPPED", text)
    made = re.findall(r'--out(?:put)?=(\S+)', text)
    if opened or re.search(r'RUN\W+SHIPPED', text):
      made.append('SHIPPED')
    for path in place.iterdir():
      if path.name not in made:
        (tmp_path / path.name).symlink_to(path)
    monkeypatch.chdir(tmp_path)
    if opened:  # ssljax opens no export as ONNX
      run(Snippet(snippet.where, 'command', EXPORT))

  return of


@pytest.mark.parametrize('command', each_once(OTHERS))
def test_a_command(command, furnish):
  if needs_house(command):
    furnish(command)
  run(command)


@pytest.mark.parametrize(
  'block', each_once(block for block in BLOCKS if block.kind == 'python')
)
def test_a_program(block, furnish):
  fits = [line for known, line in FITS.items() if known in block.text]
  text = '\n'.join([snippets.compared(block.text), *fits])
  code = compile(text, block.where, 'exec')
  if re.search(r'\b(timm|torch)\b', block.text):
    return  # test_torch_names.py does this where torch is installed
  furnish(block)
  known = {'classic': classic, 'arguments': arguments}
  exec(code, {'__name__': '__main__', **known})


@pytest.mark.parametrize(
  'block',
  each_once(each for each in BLOCKS if each.kind not in ('python', 'commands')),
)
def test_another_block(block, tmp_path):
  if block.kind == 'math' or re.match('|'.join(ELSEWHERE), block.text):
    return
  first, *lines = block.text.splitlines()
  assert (block.kind, first) == ('', 'file,text'), (
    'Found no rule for this block'
  )
  (tmp_path / 'labels.csv').write_text(block.text)
  rows = dict(line.split(',') for line in lines)
  found = read_labels(tmp_path, list(rows)).found
  assert {file: label.text for file, label in found.items()} == rows


def test_flags_between_backquotes_exist():
  """A flag that the text names is one of a command of this repository."""
  files = [*ROOT.glob('ssljax/*.py'), *ROOT.glob('benchmarks/*.py')]
  code = ''.join(path.read_text() for path in files)
  known = set(re.findall(r"'--([\w-]+)'|DEFINE_\w+\(\s*'(\w+)'", code))
  known = {'dry-run', 'build-arg', 'noreport', *map(''.join, known)}
  for page in snippets.PAGES:
    for number, line in enumerate(page.read_text().splitlines(), start=1):
      for name in re.findall(r'`--(\w[\w-]*)', line):
        assert name in known, (
          f'{page.relative_to(ROOT)}:{number} names --{name}'
        )


@slow
def test_a_newcomer_comes_to_a_reader_without_jax(house, monkeypatch):
  """All commands of the afternoon in their order, and what they leave."""
  place, (_, dry, first, *_) = house
  monkeypatch.chdir(place)
  assert 'Stages to run: 4' in dry and 'Nothing has been run' in dry
  assert 'Trained run: runs/' in first
  readings, sure = (
    list(csv.DictReader(pathlib.Path(name).read_text().splitlines()))
    for name in ('readings.csv', 'sure.csv')
  )
  assert len(readings) == 32
  assert [row | {'text': ''} for row in readings] == [
    row | {'text': ''} for row in sure
  ]
  assert not any(row['text'] for row in sure)  # of a random reader
  labels = [
    read_json(place / name / 'finetune' / 'stage.json')['labels']
    for name in ('RUN', 'OTHER')
  ]
  assert labels[1] > labels[0]
  assert read_json(place / 'OTHER' / 'config.json')['recipe'][0] == 'head'
  (listed,) = (each for each in BLOCKS if each.text.startswith('pretrain/'))
  for name in re.findall(r'^\S+', listed.text, re.MULTILINE):
    assert (place / 'RUN' / name).exists(), name
  files = [row['file'] for row in readings]
  printed = shipped(['python', 'SHIPPED/onnx_reader.py', *files])
  rows = [line.split('\t') for line in printed.splitlines()]
  assert [row[:2] for row in rows] == [
    [row['file'], row['text']] for row in readings
  ]
  np.testing.assert_allclose(
    [float(row[2]) for row in rows],
    [float(row['confidence']) for row in readings],
    atol=2e-4,
  )
  assert len({row['text'] for row in readings}) > 1  # and it reads something


def test_a_wrong_command_is_found_and_placed():
  for text, said in {
    'make install': 'no rule tries',
    'launch/local.sh 2 --config=configs/no_such.py': 'Found no configs/no',
    'python benchmarks/label_choice.py wrong --runs=RUN': '--runs',
    'python docs/draw/labels.py --chekc': 'as the docstring says',
    "pip install -e '.[tests]'": 'tests',
  }.items():
    with pytest.raises(AssertionError, match=said) as found:
      run(Snippet('page.md:7', 'command', text))
    assert found.value.__notes__ == [f'at page.md:7: {text}']
