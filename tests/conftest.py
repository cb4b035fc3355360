"""Eight CPU devices, and compilation that is quick rather than good.

Asked for before anything imports jax. Compiling is most of what the tests cost:
their programs run for milliseconds, and many of them are the same. Processes of
one run share what they compile, those that tests start included.
"""

import atexit
import importlib.metadata
import os
import shutil
import tempfile

_FLAGS = ['--xla_force_host_platform_device_count=8']
# Halves what compiling takes. A version that does not know a flag stops.
if importlib.metadata.version('jaxlib').startswith('0.10.'):
  _FLAGS.append('--xla_cpu_use_fusion_emitters=false')
for flag in _FLAGS:
  given = os.environ.get('XLA_FLAGS', '')
  if flag.split('=')[0] not in given:
    os.environ['XLA_FLAGS'] = f'{given} {flag}'.strip()
os.environ.setdefault('JAX_DISABLE_MOST_OPTIMIZATIONS', 'true')
if 'JAX_COMPILATION_CACHE_DIR' not in os.environ:
  folder = tempfile.mkdtemp(prefix='ssljax-compiled-')
  atexit.register(shutil.rmtree, folder, ignore_errors=True)
  os.environ['JAX_COMPILATION_CACHE_DIR'] = folder
  os.environ['JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS'] = '0'
