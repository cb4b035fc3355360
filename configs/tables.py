"""Tables of results on text: several rows, label sets, methods and seeds.

What the configs of tables share beside the stages of `text.py`.
"""

import functools

from ml_collections import ConfigDict

from configs import text

SAME = 'supervised, same labelled steps'  # the title of a row


def relabelled(plain: dict, **chosen) -> dict:
  """The stages of a method, whose labels are chosen by options of `data`."""
  for stage in ('head', 'finetune', 'self_train', 'supervised'):
    plain[stage].data.update(chosen)
  return plain


def linked(plain: dict, suffix: str, chain=text.STARTS['pretrain']) -> dict:
  """The stages of a chain, by default up to `finetune`, renamed by a suffix.

  A table holds the stages of many methods. Each stage therefore needs a name of
  its own, and `take` has to give the new name of the stage that it takes parts
  from.

  Args:
    plain: the stages of a method by their plain names; `take` is changed.
    suffix: is added to each name.
    chain: the plain names of the stages that are returned.
  """
  names = {stage: f'{stage}_{suffix}' for stage in chain}
  for stage in chain:
    took = plain[stage].take
    plain[stage].take = {part: names[origin] for part, origin in took.items()}
  return {names[stage]: plain[stage] for stage in chain}


# The rows of a comparison over labels. The whole recipe is pretraining, the
# head, finetuning and self-training.
ROWS = {
  'finetune': 'pretraining + finetune',
  'whole': 'the whole recipe',
  'once': 'supervised, compute of the whole recipe',
  'twice': 'supervised, twice that compute',
  'alone': 'self-training from scratch',
  'random': 'the whole recipe from a random encoder',
}


def label_set(scale: str, seed: int, name: str, **chosen):
  """Every way to learn to read from one set of labels.

  All rows but the first and 'twice' spend the FLOPs of the whole recipe. From a
  random encoder, supervised training spends what pretraining, the head and
  finetuning would have spent.

  Args:
    scale: the scale of the config.
    seed: the training seed; pretraining is the stage `pretrain_SEED`.
    name: the name of the label set.
    **chosen: options of `common.stage` that choose the labels.

  Returns:
    The stages by name, and the last stage of each row.
  """
  last = {row: f'{row}_{name}_{seed}' for row in ROWS}
  head, begun = f'head_{name}_{seed}', f'begun_{name}_{seed}'
  start = f'pretrain_{seed}', head, last['finetune']
  spent = (*start, last['whole'])
  _, head_steps, steps, _ = text.SIZES[scale]['steps']
  read = functools.partial(text.labelled, scale, **chosen)
  train = functools.partial(text.self_training, scale, **chosen)
  return {
    head: read(
      steps=head_steps, freeze=('encoder',), take={'encoder': start[0]}
    ),
    last['finetune']: read(steps=steps, take={'encoder': head, 'head': head}),
    last['whole']: train(last['finetune']),
    last['once']: read(match_compute=spent),
    last['twice']: read(match_compute=spent * 2),
    last['alone']: train(steps=None, take={}, match_compute=spent),
    begun: read(match_compute=start),
    last['random']: train(begun),
  }, last


def methods_table(options, methods: dict) -> ConfigDict:
  """A table of methods: a head on frozen features, finetuned, self-trained.

  The table also has a head on an untrained encoder, and supervised training.
  All rows of a seed use the same labels, and each seed has other ones.

  Args:
    options: the options of the config: `scale`, `seeds` and `labels`, their
      number.
    methods: the `stages` function of each method by title.
  """
  lasts = {
    'head': 'head',
    'finetune': 'finetune',
    'self_train': 'finetune + self-training',
  }
  title_of = f'{options.labels} labels'

  def of_seed(scale, seed):
    chosen = {'count': options.labels, 'draw': seed}
    plain = relabelled(next(iter(methods.values()))(scale), **chosen)
    plain['head'].take = {}
    made = {f'random_{seed}': plain['head']}
    made[f'supervised_{seed}'] = plain['supervised']
    rows = {(title_of, 'random encoder + head'): f'random_{seed}'}
    rows[title_of, SAME] = f'supervised_{seed}'
    for title, make in methods.items():
      name = f'{title.lower().replace(" ", "_").replace("-", "_")}_{seed}'
      each = relabelled(make(scale), **chosen)
      made |= linked(each, name, ('pretrain', *lasts))
      for last, row in lasts.items():
        rows[title_of, f'{title} + {row}'] = f'{last}_{name}'
    return made, rows

  config = table(text.base(options.scale), options.seeds, of_seed)
  pairs = [(f'{title} + {lasts["finetune"]}', SAME) for title in methods]
  config.differences = tuple(pairs)
  config.product = next(
    stage for stage in config.recipe if stage.startswith('self_train')
  )
  return config


def of_equal_cost(stage: ConfigDict, suffix: str) -> ConfigDict:
  """Gives a stage as many steps as the FLOPs of a pretrained row allow.

  Args:
    stage: the stage to change.
    suffix: the suffix of the row's stages, as for `linked`.
  """
  stages = ('pretrain', 'head', 'finetune')
  stage.epochs, stage.steps = 0, None
  stage.match_compute = tuple(f'{each}_{suffix}' for each in stages)
  return stage


def table(config: ConfigDict, seeds: int, of_seed) -> ConfigDict:
  """Fills in the recipe and the rows of a table that repeats over seeds.

  Args:
    config: the config without stages, from `base`.
    seeds: the number of training seeds, which count from 0.
    of_seed: `(scale, seed) -> stages, rows`. `stages` are the stages of this
      seed by name, and `rows` are the last stage of each row by (label set,
      title). A last stage may also be a tuple of stages.
  """
  recipe, rows = [], {}
  for seed in range(seeds):
    stages, titles = of_seed(config.scale, seed)
    for stage in stages.values():
      stage.seed = seed
    config.update(stages)
    recipe += stages
    for key, stage in titles.items():
      rows.setdefault(key, []).append(stage)
  config.recipe = tuple(recipe)
  config.rows = tuple((*key, tuple(row)) for key, row in rows.items())
  return config
