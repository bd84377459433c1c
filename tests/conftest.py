"""Settings of the test run; they apply before JAX starts and in every process that a test
starts."""

import ctypes
import gc
import os
import shutil
import subprocess
import sys
import tempfile
import threading

import jax
import jaxtyping
import psutil
import pytest
import warp

# Most of the suite's time is spent compiling. These flags reduce that time to a quarter; results
# stay the same up to rounding. A jaxlib that does not know a flag would abort, so we try the flags
# first.
FLAGS = (
    "--xla_cpu_use_fusion_emitters=false --xla_backend_optimization_level=0 "
    "--xla_cpu_parallel_codegen_split_count=1"
)
if "RFO_TEST_XLA_FLAGS" not in os.environ:
    probe = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env={**os.environ, "XLA_FLAGS": FLAGS},
        capture_output=True,
        check=False,
    )
    os.environ["RFO_TEST_XLA_FLAGS"] = FLAGS if probe.returncode == 0 else ""
    os.environ["XLA_FLAGS"] = " ".join(
        filter(None, (os.environ.get("XLA_FLAGS"), os.environ["RFO_TEST_XLA_FLAGS"]))
    )

# Many tests train the same tiny thing, often in a process of its own. All processes of one test run
# share what any of them has compiled, in a folder that is new for each test run.
if "RFO_TEST_PROGRAMS" not in os.environ:
    os.environ["RFO_TEST_PROGRAMS"] = tempfile.mkdtemp(prefix="rfo-test-programs-")
    os.environ["JAX_COMPILATION_CACHE_DIR"] = os.environ["RFO_TEST_PROGRAMS"]
    os.environ["JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS"] = "0.2"
    jax.config.update("jax_compilation_cache_dir", os.environ["JAX_COMPILATION_CACHE_DIR"])
    jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.2)

# Kernels compile in half the time by one level less. They give the same numbers, some of them by a
# twentieth slower.
warp.config.optimization_level = 1

# Every call checks the annotated shapes and types, except in physics and tasks. Functions there
# also take NumPy arrays and lists, and report wrong ones themselves.
ROOMS = ["rfo.policies", "rfo.algos", "rfo.training", "rfo.lab", "rfo.view"]
jaxtyping.install_import_hook(ROOMS, "annotated.check")

LONGEST = ("test_two_cpus.py", "test_devices.py", "test_processes.py")
"""Files whose tests wait for processes of their own. They come first, so that at the end no worker
is left alone with one of them."""

MEMORY_KEPT = 1.5e9
"""Memory of one process above which it gives back its compiled programs after a file [bytes]."""

MEMORY_MOST = 2.0e9
"""The same after any test; the next test of the file may have to compile again [bytes]."""

MEMORY_INTERVAL = 5.0
"""Time between two measurements of the memory of all processes [s]."""


@pytest.fixture
def annotations_unchecked():
    """Do not check annotations, for stand-ins that only have the interface of a class."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module", autouse=True)
def programs_forgotten():
    """Between two files, give back the compiled programs if they take much memory."""
    yield
    forget_programs(MEMORY_KEPT)


@pytest.fixture(autouse=True)
def many_programs_forgotten():
    """Between two tests, give back the compiled programs if they take very much memory."""
    yield
    forget_programs(MEMORY_MOST)


def forget_programs(memory_kept):
    """Give back the compiled programs if this process takes more memory than that [bytes]."""
    if psutil.Process().memory_info().rss > memory_kept:
        jax.clear_caches()
        gc.collect()
        if trim := getattr(ctypes.CDLL(None), "malloc_trim", None):  # glibc keeps freed pages
            trim(0)


class MemoryWatch(threading.Thread):
    """Records the largest memory of this process and all its children together [bytes].

    Pages that several processes share are counted once (PSS), if the system reports it.
    """

    def __init__(self):
        super().__init__(daemon=True)
        self.peak = 0
        self.done = threading.Event()

    def run(self):
        me = psutil.Process()
        while not self.done.wait(MEMORY_INTERVAL):
            self.peak = max(
                self.peak, sum(memory(process) for process in [me, *me.children(recursive=True)])
            )


def memory(process):
    """Memory of one process [bytes]; 0 if it has ended."""
    try:
        told = process.memory_full_info()
        return getattr(told, "pss", told.rss)
    except psutil.Error:
        return 0


def pytest_collection_modifyitems(items):
    """The longest files first."""
    items.sort(key=lambda item: item.path.name not in LONGEST)


def pytest_collection_finish():
    """What is there before the first test stays: garbage collections need not look at it again."""
    gc.collect()
    gc.freeze()


def pytest_configure(config):
    """Start the memory watch in the process that starts the others."""
    if not hasattr(config, "workerinput"):
        config.memory_watch = MemoryWatch()
        config.memory_watch.start()


def pytest_terminal_summary(terminalreporter, config):
    """Print the peak memory below the results."""
    if watch := getattr(config, "memory_watch", None):
        watch.done.set()
        terminalreporter.write_line(f"peak memory of all test processes: {watch.peak / 1e9:.2f} GB")


def pytest_unconfigure(config):
    """Remove the compiled programs, in the process that starts the others."""
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["RFO_TEST_PROGRAMS"], ignore_errors=True)
