"""The figures of `docs/draw/structure.py` stay where they were brought."""

import importlib
import pathlib
import sys

ROOT = pathlib.Path(__file__).parent.parent
sys.path.append(str(ROOT / 'docs' / 'draw'))
structure = importlib.import_module('structure')


def test_configs_stop_at_the_door():
  assert structure.takes_config() <= {
    '__init__.py',  # of tasks
    'main.py',
    'stage.py',
    'workdir.py',
  }
  assert structure.asks_about_text() == []


def test_encode_is_written_once():
  assert structure.copies_of_encode() == 1


def test_public_functions_say_their_types():
  typed, total = structure.annotated()
  assert total > 300
  assert typed / total >= 0.85


def test_configs_are_short():
  assert structure.long_configs() == []


def test_the_way_is_there():
  assert all((ROOT / path).is_file() for path in structure.WAY)
