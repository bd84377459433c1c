"""Export of a trained policy as one file that runs without rfo.

The file holds the whole way from an observation to the robot: normaliser, encoder, flow or
Gaussian, squash, and the map to the actuators' controls. `METADATA` tells what goes in and out.
"""

from __future__ import annotations

import io
import json
import logging
import zipfile
from collections.abc import Callable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

import rfo
from rfo.algos.rollout import TrainedPolicy
from rfo.envs.base import Actuated, Environment, EnvSpec
from rfo.envs.batch import Batch
from rfo.errors import RunError, SettingError
from rfo.experiment import build
from rfo.experiment.folder import load_state
from rfo.experiment.record import Experiment
from rfo.training.record import RunFolder, plain, write_atomically
from rfo.types import Array, ObservationShape

METADATA = "rfo"
"""Name of the JSON object in the metadata of an ONNX file."""
ARCHIVE = ("policy.stablehlo", "metadata.json")
"""Files in a StableHLO archive."""
NOISE = "noise"
"""Name of the input of standard normal noise."""
OPSET = 21
"""Version of ONNX's operators, which ONNX Runtime reads since 1.18."""
PLATFORMS = ("cpu", "cuda")
"""Platforms that a StableHLO program runs on."""

SAMPLES = 1000
"""Observations on which an exported policy is compared with the run's."""
TOLERANCE = 1e-5
"""Largest accepted difference of an output from the run's policy."""

Shapes = dict[str, tuple[int, ...]]
"""Shapes of arrays by name, without their leading axis B."""


class Export(NamedTuple):
    """What an export wrote."""

    path: Path
    metadata: dict[str, Any]
    """What the file tells about itself."""
    difference: float
    """Largest difference of an output from the run's policy, over `SAMPLES` observations."""


class Program(NamedTuple):
    """A policy as a function of arrays by name."""

    inputs: Shapes
    outputs: tuple[str, ...]
    call: Callable[..., tuple[Array, ...]]
    """Outputs for the inputs in order, each with the leading axis B."""


def export(
    experiment: Experiment, folder: RunFolder, path: Path, deterministic: bool = False
) -> Export:
    """Write the newest policy of a run to a file, and compare the file with the policy.

    Inputs are the arrays of the observation, "observation" if it is a vector, and "noise" (B, A).
    Outputs are "action" (B, A) in [-1, 1], or (B, C, A) for chunks of C actions, and for a robot
    also "control", the same as its actuators take it.

    Args:
        experiment: what was trained.
        folder: its run folder.
        path: file to write: ``.onnx``, or ``.zip`` for StableHLO.
        deterministic: act with noise zero, without an input for it.

    Raises:
        SettingError: for a path with another suffix.
        RunError: if the run has no checkpoint, a package is missing, or the file acts differently.
    """
    if path.suffix not in FORMATS:
        raise SettingError(f"an export ends in {' or '.join(FORMATS)}, not '{path}'", "out")
    serialise, load = FORMATS[path.suffix]
    algorithm, env = build.build(build.nominal(experiment))
    state, progress = load_state(folder, experiment)
    policy: Any = algorithm.policy(state)
    program = make_program(policy, env, deterministic)
    about = {
        "run": folder.path.resolve().name,
        "experiment": experiment.to_json(),
        "env_steps": progress["env_steps"],
        "versions": folder.read_json("versions.json")["packages"],
        "exported_with": rfo.__version__,
        **describe(env, program),
    }
    with jax.default_matmul_precision("highest"):
        content = serialise(program, plain(about))
        difference = compare(program, load(content), samples(policy, env, program.inputs))
    if not difference <= TOLERANCE:
        raise RunError(
            f"the exported policy differs from the run's by {difference:.2g}, more than "
            f"{TOLERANCE:.0e}: {path} was not written"
        )
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, content)
    return Export(path, plain(about), difference)


def make_program(policy: TrainedPolicy, env: Batch, deterministic: bool) -> Program:
    """The policy from raw observations to controls."""
    spec, task = env.spec, env.task
    observed = _shapes(spec.observation)
    size = task.spec.action_size
    shape = (size,) if spec.action_size == size else (spec.action_size // size, size)
    offset, scale = control_map(task.spec)

    def call(*arrays: Array) -> tuple[Array, ...]:
        given = dict(zip(inputs, arrays, strict=True))
        batch = arrays[0].shape[0]
        noise = given.pop(NOISE, jnp.zeros((batch, spec.action_size)))
        observation = given if isinstance(spec.observation, dict) else arrays[0]
        action = policy.act(observation, noise).reshape(batch, *shape)
        if not isinstance(task, Actuated):
            return (action,)
        return action, jnp.asarray(offset) + jnp.asarray(scale) * action

    inputs = observed if deterministic else {**observed, NOISE: (spec.action_size,)}
    outputs = ("action", "control") if isinstance(task, Actuated) else ("action",)
    return Program(inputs, outputs, call)


def describe(env: Batch, program: Program) -> dict[str, Any]:
    """What a deployed policy must be given, and what it gives."""
    spec = env.task.spec
    chunk = env.spec.action_size // spec.action_size
    return {
        "task": spec.name,
        "inputs": program.inputs,
        "outputs": program.outputs,
        "observation": [entry._asdict() for entry in spec.entries],
        "action_size": spec.action_size,
        "chunk": chunk,
        "executed": env.stride,
        "deterministic": NOISE not in program.inputs,
        "control_frequency": 1 / spec.dt,
        **_robot(env.task),
    }


def control_map(spec: EnvSpec) -> tuple[np.ndarray, np.ndarray]:
    """Offset and scale (A,) that turn actions into the actuators' controls."""
    ranges = spec.control_range or ((-1.0, 1.0),) * spec.action_size
    low, high = np.array(ranges, np.float32).T
    return (low + high) / 2, (high - low) / 2


def _robot(task: Environment) -> dict[str, Any]:
    """Names, pose and scales of the actuators; nothing for a task without them."""
    if not isinstance(task, Actuated):
        return {}
    offset, scale = control_map(task.spec)
    model = task.simulator.model
    lengths = model.actuators.lengths
    driven = [model.dof_names[dof] for dof in lengths.dof]
    return {
        "degrees_of_freedom": model.dof_names,
        "actuators": model.actuators.names,
        "driven_joints": [driven[start:end] for start, end in pairwise(lengths.start)],
        "control_scale": scale,
        "control_offset": offset,
        "default_pose": task.pose,
    }


def samples(policy: TrainedPolicy, env: Batch, inputs: Shapes) -> dict[str, np.ndarray]:
    """Inputs as the policy knows them: vectors as its normaliser has seen them, the rest normal."""
    rng = np.random.default_rng(0)
    drawn = {name: rng.standard_normal((SAMPLES, *shape)) for name, shape in inputs.items()}
    normalizer = policy.normalizer
    statistics = normalizer.mean, normalizer.variance
    if not isinstance(env.spec.observation, dict):
        statistics = tuple({"observation": each} for each in statistics)
    for name, mean in statistics[0].items():
        drawn[name] = np.asarray(mean) + np.sqrt(statistics[1][name]) * drawn[name]
    return {name: array.astype(np.float32) for name, array in drawn.items()}


def compare(
    program: Program,
    exported: Callable[[dict[str, np.ndarray]], Sequence[Any]],
    inputs: dict[str, np.ndarray],
) -> float:
    """Largest difference of an output, relative to the largest value where that is above 1.

    The program runs compiled, as it does in training. All inputs are compared in one batch and the
    first one alone, so that a file with a fixed batch does not pass.
    """
    program_call = jax.jit(program.call)
    differences = []
    for batch in (inputs, {name: array[:1] for name, array in inputs.items()}):
        wanted = [np.asarray(output) for output in program_call(*batch.values())]
        for want, got in zip(wanted, exported(batch), strict=True):
            if want.shape != np.shape(got):
                return float("inf")
            differences.append(np.abs(want - got).max() / max(1.0, np.abs(want).max()))
    return float(max(differences))


def to_onnx(program: Program, about: dict[str, Any]) -> bytes:
    """The program as an ONNX model.

    Raises:
        RunError: if jax2onnx is not installed.
    """
    try:
        import jax2onnx
    except ImportError:
        raise RunError(
            "jax2onnx is not installed: pip install 'rfo[onnx]', or export StableHLO with a path "
            "that ends in .zip"
        ) from None
    # its warnings are about types of shapes that no run time needs
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)
    model: Any = jax2onnx.to_onnx(
        program.call,
        [("B", *shape) for shape in program.inputs.values()],
        model_name=about["task"],
        opset=OPSET,
        input_names=list(program.inputs),
        output_names=list(program.outputs),
    )
    model.metadata_props.add(key=METADATA, value=json.dumps(about))
    return model.SerializeToString()


def load_onnx(content: bytes) -> Callable[[dict[str, np.ndarray]], Sequence[Any]]:
    """An ONNX model as a function, on one core.

    Raises:
        RunError: if onnxruntime is not installed.
    """
    try:
        import onnxruntime
    except ImportError:
        raise RunError("onnxruntime is not installed: pip install 'rfo[onnx]'") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(content, options)
    return lambda inputs: session.run(None, inputs)


def to_stablehlo(program: Program, about: dict[str, Any]) -> bytes:
    """An archive with the program, as `jax.export` serialises it, and its metadata."""
    (batch,) = jax.export.symbolic_shape("B")
    shapes = [
        jax.ShapeDtypeStruct((batch, *shape), jnp.float32) for shape in program.inputs.values()
    ]
    exported = jax.export.export(jax.jit(program.call), platforms=PLATFORMS)(*shapes)
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(ARCHIVE[0], bytes(exported.serialize()))
        archive.writestr(ARCHIVE[1], json.dumps(about, indent=2))
    return content.getvalue()


def load_stablehlo(content: bytes) -> Callable[[dict[str, np.ndarray]], Sequence[Any]]:
    """The program of an archive as a function."""
    with zipfile.ZipFile(io.BytesIO(content)) as archive:
        exported = jax.export.deserialize(bytearray(archive.read(ARCHIVE[0])))
    return lambda inputs: tuple(exported.call(*inputs.values()))


FORMATS = {".onnx": (to_onnx, load_onnx), ".zip": (to_stablehlo, load_stablehlo)}
"""What writes a program to bytes and reads it, by the suffix of the file."""


def _shapes(observation: ObservationShape) -> Shapes:
    if isinstance(observation, int):
        return {"observation": (observation,)}
    return {name: tuple(shape) for name, shape in observation.items()}
