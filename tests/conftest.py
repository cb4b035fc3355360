"""Eight CPU devices, and compilation that is quick rather than good.

Asked for before anything imports jax. Compiling is most of what the tests cost:
their programs run for milliseconds, and many of them are the same. Processes of
one run share what they compile, those that tests start included.
"""

import atexit
import os
import shutil
import tempfile

_DEVICES = '--xla_force_host_platform_device_count'

if _DEVICES not in os.environ.get('XLA_FLAGS', ''):
  os.environ['XLA_FLAGS'] = (
    os.environ.get('XLA_FLAGS', '') + f' {_DEVICES}=8'
  ).strip()
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', 'true')
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  folder = tempfile.mkdtemp(prefix='ssljax-compiled-')
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = folder
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
