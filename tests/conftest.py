"""Eight CPU devices, asked for before anything imports jax."""

import os

_DEVICES = '--xla_force_host_platform_device_count'

if _DEVICES not in os.environ.get('XLA_FLAGS', ''):
  os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + f' {_DEVICES}=8'
  ).strip()
