"""An encoder's weights as a safetensors file in torchvision's or timm's names.

A file says in its metadata which pixels its network takes: `mean` and `std`, of
each channel between 0 and 1, as JSON. Files that were written here say 0.5 for
both; a file that says nothing counts as trained with the mean and the standard
deviation of ImageNet, which torchvision and most of timm's models take.
"""

import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
import safetensors
import safetensors.numpy

from ssljax import durable
from ssljax.errors import UserError
from ssljax.models import torch_names

IMAGENET = {'mean': [0.485, 0.456, 0.406], 'std': [0.229, 0.224, 0.225]}
OURS = {'mean': [0.5, 0.5, 0.5], 'std': [0.5, 0.5, 0.5]}


class Weights(NamedTuple):
  """What a file holds: arrays by name, and texts by name beside them."""

  tensors: dict[str, np.ndarray]
  metadata: dict[str, str]


class Encoder(NamedTuple):
  """An encoder's weights as this library has them.

  Attributes:
    params: of the encoder.
    batch_stats: of the encoder; empty where it has no BatchNorm.
    facts: what a run keeps about the file: its path, its SHA-256, the `mean`
      and `std` of the pixels that it was trained on, and the tensors that were
      left out.
  """

  params: dict[str, Any]
  batch_stats: dict[str, Any]
  facts: dict[str, Any]


def write_weights(
  path: str | os.PathLike[str],
  tensors: Mapping[str, np.ndarray],
  metadata: Mapping[str, str] | None = None,
) -> None:
  """Writes a file, wholly or not at all.

  Raises:
    CannotWrite: there is no room, or the folder may not be written to.
  """
  with durable.replacing(path, 'wb') as file:
    file.write(packed(tensors, metadata))


def packed(
  tensors: Mapping[str, np.ndarray], metadata: Mapping[str, str] | None = None
) -> bytes:
  """The content of such a file."""
  # The library writes the memory of an array whatever its strides are.
  plain = {name: np.array(each, order='C') for name, each in tensors.items()}
  return safetensors.numpy.save(plain, dict(metadata or {}))


def read_weights(path: str | os.PathLike[str]) -> Weights:
  """Reads a file; its arrays and texts cannot run code.

  Raises:
    UserError: no such file, or one of another kind.
  """
  try:
    with safetensors.safe_open(path, framework='numpy') as file:
      names = file.keys()
      tensors = {name: file.get_tensor(name) for name in names}
      return Weights(tensors, file.metadata() or {})
  except (OSError, safetensors.SafetensorError, TypeError, ValueError) as error:
    raise UserError(
      f'Found {path}, which cannot be read as safetensors ({error}); expected '
      'a file that safetensors has written, in torch by '
      'safetensors.torch.save_file(model.state_dict(), path).'
    ) from None


def encoder_weights(
  params: Mapping[str, Any],
  batch_stats: Mapping[str, Any],
  *,
  height: int,
  width: int,
) -> Weights:
  """An encoder in torchvision's or timm's names, for `write_weights`.

  Args:
    params: of the encoder, a ResNet or a ViT.
    batch_stats: of the encoder.
    height: of the images that it takes, in pixels.
    width: of the images that it takes.

  Raises:
    UserError: another kind of encoder.
  """
  if torch_names.kind_of(params) == 'resnet':
    tensors = torch_names.to_torchvision(params, batch_stats)
  else:
    tensors = torch_names.to_timm(params, height=height, width=width)
  pixels = {key: json.dumps(value) for key, value in OURS.items()}
  return Weights(tensors, {'format': 'pt', **pixels})


def read_encoder(
  path: str | os.PathLike[str],
  params: Mapping[str, Any],
  batch_stats: Mapping[str, Any],
) -> Encoder:
  """Reads an encoder's weights in torchvision's or timm's names.

  Args:
    path: of the file.
    params: arrays, or their shapes, of the encoder that is to have the weights.
    batch_stats: its statistics, or their shapes.

  Raises:
    UserError: the file cannot be read, or is of another network; the message
      names the first tensor that differs.
  """
  kind = torch_names.kind_of(params)
  tensors, metadata = read_weights(path)
  digest = durable.digest_of_file(path)
  try:
    pixels = _pixels(metadata)
    if kind == 'resnet':
      made, statistics, left = torch_names.from_torchvision(
        tensors, params, batch_stats, **pixels
      )
    else:
      made, left = torch_names.from_timm(tensors, params, **pixels)
      statistics = {}
  except UserError as error:
    raise UserError(f'{path}: {error}') from None
  place = str(pathlib.Path(path).resolve())
  facts = {'file': place, 'sha256': digest, **pixels, 'left_out': left}
  return Encoder(made, statistics, facts)


def told(path: str | os.PathLike[str], encoder: Encoder) -> str:
  """What the console says of a file whose weights are taken."""
  facts = encoder.facts
  left = ', '.join(facts['left_out']) or 'nothing'
  return (
    f'Encoder from {path}, trained on pixels of mean {facts["mean"]} and '
    f'standard deviation {facts["std"]}; left out: {left}.'
  )


def _pixels(metadata: Mapping[str, str]) -> dict[str, list[float]]:
  """The mean and the standard deviation that a file's network was trained on.

  Raises:
    UserError: they are no three numbers, or a deviation is not above 0.
  """
  try:
    found = {
      key: [float(each) for each in json.loads(metadata[key])]
      if key in metadata
      else IMAGENET[key]
      for key in IMAGENET
    }
    good = all(len(each) == 3 for each in found.values())
    good = good and bool(np.isfinite(list(found.values())).all())
  except (TypeError, ValueError, RecursionError):
    found, good = {}, False
  if not good or min(found['std']) <= 0:
    raise UserError(
      f'Found the metadata {dict(metadata)}; expected mean and std as JSON, '
      'each a list of three numbers, such as [0.485, 0.456, 0.406]. Write the '
      'file with such metadata, or with none.'
    )
  return found
