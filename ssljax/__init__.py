"""Self-supervised learning in JAX/Flax; `load` opens a trained run."""


def __getattr__(name: str):
  # Not imported above: processes that only render or load images use this
  # package too, and are to start without JAX.
  if name == 'load':
    from ssljax.reader import load

    return load
  raise AttributeError(f'module {__name__!r} has no attribute {name!r}')
