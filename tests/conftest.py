"""Settings of the test run, in force before JAX is imported and in every process that a test starts."""

import os

# Compiling is most of the suite's time, and these quarter it; what is computed stays the same up to rounding.
FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"
