"""Identify three robots from noisy recordings, which MuJoCo makes of constants unlike the file's.

    python examples/identify.py pendulum      # or leg, box

It writes the robot's file, the recording and a picture of the fit, and prints what was found beside
the truth. The file holds a first guess; the recorded robot differs from it by known factors.
"""

import argparse
from pathlib import Path
from typing import NamedTuple

import mujoco
import numpy as np

import rfo

PENDULUM = """<mujoco model="pendulum"><option timestep="0.001"/>
  <worldbody><body name="rod">
    <joint name="hinge" axis="0 1 0" damping="0.05"/>
    <geom type="capsule" fromto="0 0 0 0 0 -0.5" size="0.03" mass="1"/>
  </body></worldbody>
  <actuator><motor joint="hinge"/></actuator>
</mujoco>"""

LEG = """<mujoco model="go2_leg"><option timestep="0.001"/>
  <compiler inertiafromgeom="false"/>
  <default><joint axis="0 1 0" armature="0.01" damping="0.2"/></default>
  <worldbody><body name="hip" pos="0 0 1">
    <joint name="hip" axis="1 0 0"/>
    <inertial pos="-0.0054 0.00194 0" mass="0.678" diaginertia="0.00088 0.0006 0.00048"/>
    <body name="thigh" pos="0 0.0955 0">
      <joint name="thigh"/>
      <inertial pos="-0.00374 -0.0223 -0.0327" mass="1.152"
        diaginertia="0.00595 0.00584 0.00088"/>
      <body name="calf" pos="0 0 -0.213">
        <joint name="calf"/>
        <inertial pos="0.0063 0 -0.1414" mass="0.2414" diaginertia="0.0015 0.0015 0.0000531"/>
      </body>
    </body>
  </body></worldbody>
  <actuator><motor joint="hip"/><motor joint="thigh"/><motor joint="calf"/></actuator>
</mujoco>"""

BOX = """<mujoco model="box"><option timestep="0.001"/>
  <worldbody>
    <geom type="plane" size="5 5 1" friction="0.5"/>
    <body name="box" pos="0 0 0.1">
      <joint name="x" type="slide" axis="1 0 0"/> <joint name="z" type="slide" axis="0 0 1"/>
      <geom type="box" size="0.2 0.2 0.1" mass="2" friction="0.5"/>
    </body>
  </worldbody>
  <actuator><motor joint="x" gear="10"/></actuator>
</mujoco>"""


class Case(NamedTuple):
    """A robot, and how its recording differs from its file."""

    file: str
    truth: dict[str, float]
    """Factors by the names that `rfo identify` has for them."""
    push: float
    """Standard deviation of the controls."""
    noise: tuple[float, float]
    """Of coordinates [m, rad] and velocities [m/s, rad/s]."""


CASES = {
    "pendulum": Case(
        PENDULUM, {"body.mass.rod": 1.3, "joint.damping.hinge": 1.6}, 1.5, (0.01, 0.05)
    ),
    "leg": Case(
        LEG,
        {"body.mass.thigh": 1.2, "body.mass.calf": 0.8, "joint.damping.thigh": 1.5},
        1.0,
        (0.005, 0.05),
    ),
    "box": Case(BOX, {"contact.friction": 0.7}, 0.8, (0.0003, 0.01)),
}


def different(case):
    """MuJoCo's model of the file, with the factors."""
    m = mujoco.MjModel.from_xml_string(case.file)
    for name, factor in case.truth.items():
        quantity, _, part = name.rpartition(".")
        if quantity == "body.mass":
            m.body(part).mass *= factor
            m.body(part).inertia *= factor
        elif quantity == "joint.damping":
            m.joint(part).damping *= factor
        else:
            m.geom_friction[:, 0] *= factor
    return m


def record(case, episodes=4, rows=50, dt=0.02, seed=0):
    """Episodes from random starts under random controls, which hold for five rows."""
    m, rng = different(case), np.random.default_rng(seed)
    data, kept = mujoco.MjData(m), {"qpos": [], "qvel": [], "ctrl": [], "episode": []}
    for episode in range(episodes):
        mujoco.mj_resetData(m, data)
        data.qpos[0], data.qvel[0] = rng.uniform(-1.0, 1.0, 2)
        for row in range(rows):
            if row % 5 == 0:
                data.ctrl[:] = case.push * rng.normal(size=m.nu)
            values = data.qpos, data.qvel, data.ctrl, [episode]
            for name, value in zip(kept, values, strict=True):
                kept[name].append(np.array(value))
            mujoco.mj_step(m, data, round(dt / m.opt.timestep))
    arrays = {name: np.array(rows) for name, rows in kept.items()}
    for name, noise in zip(("qpos", "qvel"), case.noise, strict=True):
        arrays[name] += noise * rng.normal(size=arrays[name].shape)
    return {**arrays, "episode": arrays["episode"][:, 0], "dt": dt}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("robot", choices=CASES)
    name = parser.parse_args().robot
    case = CASES[name]
    Path(f"{name}.xml").write_text(case.file)
    np.savez(f"{name}.npz", **record(case))
    found = rfo.identify(f"{name}.xml", f"{name}.npz", list(case.truth), window=25)
    found.draw(Path(f"{name}.png"))
    print(found)
    for constant, factor in case.truth.items():
        low, high = found[constant].interval
        print(f"truth: {constant} {factor}, {'inside' if low < factor < high else 'outside'}")


if __name__ == "__main__":
    main()
