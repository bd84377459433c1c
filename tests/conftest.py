"""Settings of the test run, in force before JAX is imported and in every process that a test starts."""

import os

# Compiling is most of the suite's time, and this halves it; what is computed stays the same up to rounding.
os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + " --xla_cpu_use_fusion_emitters=false"
