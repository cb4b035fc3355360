"""What the commands have in common: their help, and what --debug adds."""

import pytest
from absl.testing import flagsaver

from ssljax import export, flags, main, recognize, report, review
from ssljax.errors import UserError, told

ARGUMENTS = {  # that are whole, but of a run that is not there
  recognize: ('nowhere', 'x.png'),
  review: ('nowhere',),
  report: ('nowhere',),
  export: ('nowhere', 'out'),
}


def test_an_error_in_a_line_and_with_its_trace():
  def refuse():
    raise UserError('Found 1; expected 2.')

  try:
    refuse()
  except UserError as error:
    assert told(error) == 'UserError: Found 1; expected 2.'
    trace = told(error, debug=True)
  assert trace.startswith('Traceback') and 'in refuse\n' in trace
  assert trace.endswith('\nUserError: Found 1; expected 2.')


@pytest.mark.parametrize('debug', [False, True])
@pytest.mark.parametrize('command', ARGUMENTS)
def test_debug_tells_where_an_error_was_found(
  command, debug, tmp_path, monkeypatch, capsys
):
  monkeypatch.chdir(tmp_path)
  try:
    status = command.main(
      [*ARGUMENTS[command], *(['--debug'] if debug else [])]
    )
    said = capsys.readouterr().err
  except SystemExit as ended:
    said, status = str(ended), 2
  assert status == 2
  assert said.rstrip().splitlines()[-1].startswith('UserError: Found no ')
  assert ('Traceback' in said) == debug


@flagsaver.flagsaver
def test_debug_tells_what_a_flag_stumbled_over(capsys):
  for debug in ([], ['--debug']):
    with pytest.raises(SystemExit, match=r"'nonsense'[^$]*See --help"):
      flags.parse_flags(['main', '--nonsense=1', *debug])
    assert ('UnrecognizedFlagError' in capsys.readouterr().err) == bool(debug)


@pytest.mark.parametrize('command', [main, *ARGUMENTS])
def test_the_help_has_an_example_and_fits(command, monkeypatch, capsys):
  monkeypatch.setenv('COLUMNS', '80')
  with pytest.raises(SystemExit) as ended:
    if command is main:
      monkeypatch.setattr('__main__.__doc__', main.__doc__)
      flags.parse_flags(['main', '--help'])
    command.main(['--help'])
  assert not ended.value.code
  lines = capsys.readouterr().out.splitlines()
  assert max(map(len, lines)) <= 80
  assert any(f'python -m {command.__name__} ' in line for line in lines[:3])
  assert any(line.strip().startswith('--debug ') for line in lines)
  assert len(lines) < 60


def test_the_help_has_all_flags_of_the_command():
  holders = [each for each in vars(flags).values() if hasattr(each, 'present')]
  assert len(holders) > 9
  for each in holders:
    assert f'\n  --{each.name} ' in flags.help_text()
