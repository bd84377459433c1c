"""Run an exported policy in MuJoCo, with numpy, onnxruntime and mujoco alone.

    rfo export RUN --out policy.onnx
    python examples/deploy.py policy.onnx

The policies of the tasks ant and go2 are understood: their observations are rebuilt here from
MuJoCo's state. Copy this file and the robot's MJCF file to where they run; rfo is not needed there.
"""

import argparse
import json
import time
from pathlib import Path

import mujoco
import numpy as np
import onnxruntime

ASSETS = Path(__file__).resolve().parents[1] / "src" / "rfo" / "envs" / "assets"
STEP = 0.0025
"""Longest step of MuJoCo's integration [s]."""
COMMAND = (1.0, 0.0, 0.0)
"""Velocity of the Go2 forward and to the left [m/s], turning rate to the left [rad/s]."""


def rotation(quat):
    """Rotation matrix of a quaternion (w, x, y, z), from body to world."""
    matrix = np.empty(9)
    mujoco.mju_quat2Mat(matrix, quat)
    return matrix.reshape(3, 3)


def observe_ant(data, action, metadata):
    """The ant's observation: see the table in `rfo.envs.tasks.ant.Ant`."""
    turn = rotation(data.qpos[3:7])
    target = np.array([1e4, 0.0]) - data.qpos[:2]
    heading = turn[:2, 0] @ target / np.linalg.norm(target)
    spin = turn @ data.qvel[3:6]  # MuJoCo's is in the body's axes
    joint_velocities = 0.1 * data.qvel[6:]
    up = turn[2, 2]
    return np.concatenate(
        [
            data.qpos[2:7],
            data.qvel[:3],
            spin,
            data.qpos[7:],
            joint_velocities,
            [up, heading],
            action,
        ]
    )


def observe_go2(data, action, metadata):
    """The Go2's observation: see the table in `rfo.envs.tasks.go2.Go2`."""
    turn = rotation(data.qpos[3:7])
    joints = data.qpos[7:] - np.array(metadata["default_pose"][7:])
    return np.concatenate(
        [
            turn.T @ data.qvel[:3],
            data.qvel[3:6],
            -turn[2],
            COMMAND,
            joints,
            0.05 * data.qvel[6:],
            action,
        ]
    )


OBSERVE = {"ant": observe_ant, "go2": observe_go2}


class Policy:
    """An exported policy on one core; its metadata says what goes in and out."""

    def __init__(self, path):
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        self.session = onnxruntime.InferenceSession(path, options)
        self.metadata = json.loads(self.session.get_modelmeta().custom_metadata_map["rfo"])
        self.seconds = []

    def __call__(self, observation, rng):
        """Actions in [-1, 1] and controls of one decision, (C, A) each; the time is kept."""
        inputs = {"observation": observation[None].astype(np.float32)}
        if not self.metadata["deterministic"]:
            (size,) = self.metadata["inputs"]["noise"]
            inputs["noise"] = rng.standard_normal((1, size), np.float32)
        start = time.perf_counter()
        action, control = self.session.run(["action", "control"], inputs)
        self.seconds.append(time.perf_counter() - start)
        size = self.metadata["action_size"]
        return action.reshape(-1, size), control.reshape(-1, size)


def run(policy, robot, seconds=10.0, seed=0):
    """Let a policy act for so long; returns MuJoCo's data at its end, and the decisions' times."""
    metadata, rng = policy.metadata, np.random.default_rng(seed)
    model = mujoco.MjModel.from_xml_path(str(robot))
    data = mujoco.MjData(model)
    dt = 1 / metadata["control_frequency"]
    substeps = int(np.ceil(dt / STEP))
    model.opt.timestep = dt / substeps
    data.qpos[:] = metadata["default_pose"]
    mujoco.mj_forward(model, data)
    action = np.zeros(metadata["action_size"])
    for _ in range(round(seconds / (dt * metadata["executed"]))):
        actions, controls = policy(OBSERVE[metadata["task"]](data, action, metadata), rng)
        for control in controls[: metadata["executed"]]:
            data.ctrl[:] = control
            mujoco.mj_step(model, data, substeps)
        action = actions[metadata["executed"] - 1]
    return data


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("policy", help="file that `rfo export` wrote")
    parser.add_argument("--robot", type=Path, help="MJCF file of the robot")
    parser.add_argument("--seconds", type=float, default=10.0, help="simulated time [s]")
    options = parser.parse_args()
    policy = Policy(options.policy)
    task = policy.metadata["task"]
    if task not in OBSERVE:
        parser.error(f"the observation of {task} is not written here; {', '.join(OBSERVE)} are")
    data = run(policy, options.robot or ASSETS / f"{task}.xml", options.seconds)
    print(
        f"{task}: {data.qpos[0]:.1f} m forward in {data.time:.1f} s, "
        f"height {data.qpos[2]:.2f} m at the end"
    )
    middle, slow = 1e3 * np.percentile(policy.seconds, [50, 99])
    print(
        f"{len(policy.seconds)} decisions at {policy.metadata['control_frequency']:.0f} Hz: "
        f"{middle:.3f} ms each, {slow:.3f} ms at the 99th percentile"
    )


if __name__ == "__main__":
    main()
