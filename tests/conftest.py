"""Settings of the test run, in force before JAX is imported and in every process that a test starts."""

import os

import jaxtyping
import pytest

# Compiling is most of the suite's time, and these quarter it; what is computed stays the same up to rounding.
FLAGS = "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0"
os.environ["XLA_FLAGS"] = f"{os.environ.get('XLA_FLAGS', '')} {FLAGS}"

# The shapes and types that annotations state are checked at every call, but in physics and tasks, whose
# functions take NumPy's arrays and lists too and say in their own words what is wrong with them.
ROOMS = ["rfo.policies", "rfo.algos", "rfo.train", "rfo.lab", "rfo.view"]
jaxtyping.install_import_hook(ROOMS, "annotated.check")


@pytest.fixture
def annotations_unchecked():
    """For stand-ins that have a class's interface without being one."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)
