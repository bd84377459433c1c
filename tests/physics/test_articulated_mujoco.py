"""The simulator's mass matrix and bias against the mujoco package.

Both are compared on random trees and on the shipped models.
"""

from dataclasses import replace
from importlib.resources import files

import mujoco
import numpy as np
import pytest

from oracle import mujoco_dynamics, random_state, random_tree
from rfo.physics.articulated import Articulated, ArticulatedState
from rfo.physics.mjcf import ContactParameters, load


@pytest.mark.parametrize("case", [*range(12), "cartpole", "hopper", "ant"])
def test_mass_matrix_and_bias_are_mujocos(case):
    """Out of reach of the ground and of limits, where MuJoCo's laws differ from ours."""
    text = random_tree(case) if isinstance(case, int) else ""
    if isinstance(case, str):
        text = files("rfo.envs").joinpath(f"assets/{case}.xml").read_text()
    model = load(text, ContactParameters(ke=1e4, kd=1e2, kf=1e3, mu=0.8))
    model = replace(
        model,
        limit_lower=np.full(model.nv, -np.inf),
        limit_upper=np.full(model.nv, np.inf),
        ground_height=-1e3,
    )
    reference, rng = mujoco.MjModel.from_xml_string(text), np.random.default_rng(5)
    q, qd = (np.stack(x) for x in zip(*(random_state(model, rng) for _ in range(3)), strict=True))
    simulator, state = Articulated(model, dt=0.01, substeps=1), ArticulatedState(q, qd)
    ours = zip(simulator.mass_matrix(state), simulator.bias(state), strict=True)
    for i, (mass_matrix, bias) in enumerate(ours):
        expected_mass, expected_bias, _ = mujoco_dynamics(reference, model, q[i], qd[i])
        np.testing.assert_allclose(
            mass_matrix, expected_mass, atol=3e-6 * np.abs(expected_mass).max()
        )
        np.testing.assert_allclose(bias, expected_bias, atol=2e-5 * np.abs(expected_bias).max())
