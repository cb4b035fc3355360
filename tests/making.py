"""What a config describes, built as `ssljax.stage` builds it."""

from ssljax import build, tasks


def method(config, stage, **options):
  """The method of a stage, given by its name or by its description."""
  each = config[stage] if isinstance(stage, str) else stage
  task = tasks.make(config)
  return build.method(each.to_dict(), run=config, task=task, **options)


def optimizer(config, stage, *, steps):
  each = config[stage] if isinstance(stage, str) else stage
  rate = each.optimizer.learning_rate
  return build.optimizer(
    each.to_dict(), task=tasks.make(config), steps=steps, learning_rate=rate
  )


def frames(config):
  """Frames of one line of text."""
  return tasks.make(config).frames(build.encoder(config))
