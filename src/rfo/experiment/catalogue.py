"""The tasks and methods that are known by name, with their presets.

Nothing is imported here: modules are named, and imported when `rfo.experiment.build` builds what they hold.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Any


@dataclass(frozen=True)
class Task:
    """A registered task and its preset."""

    module: str
    name: str
    summary: str
    steps: int
    """Environment steps of a training run."""
    environments: int = 64
    simulated: bool = False
    """Whether it runs on the physics engine, which takes a number of threads."""
    approach: tuple[tuple[float, ...], int] | None = None
    """An action, and for how many steps, after which a tool that starts out of reach touches what it works
    on: before that no reward has a gradient to check."""
    fine: bool = False
    """Whether its gradient is checked in double precision, with smaller steps: kinks, many and small, keep
    differences at the steps that single precision can resolve from converging to the slope."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from an algorithm's defaults, by dotted name (``critic.iterations``), for the
    algorithms that have them."""


@dataclass(frozen=True)
class Method:
    """A registered algorithm, or a variant of one: the same class with other defaults."""

    module: str
    name: str
    summary: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Hyperparameters that make the variant; they come before a task's."""


SOFT = {
    "network.hidden": (512, 256),
    "critic.hidden": (256, 256),
    "network.point_hidden": (16,),
    "critic.iterations": 8,
    "capacity": 32_768,
}
"""The reference's networks for soft bodies, but for what costs most on a CPU: its encoder has the layers (64,
128, 256) per point, and its critics make 16 passes. Equal for all methods."""

SOFT_SMALL = {
    "network.hidden": (128, 64),
    "critic.hidden": (128, 128),
    "network.point_hidden": (32,),
    "network.point_features": 32,
    "network.vector_features": 64,
    "critic.iterations": 8,
    "critic.learning_rate": 2e-3,
    "capacity": 65_536,
}


MUSCLES = SOFT | {"c_uni": 1.0}
"""For 222 actions: L_uni is a mean over them, so that each is held to uniform ones with c_uni / 222."""

PARTICLES = SOFT | {"network.point_hidden": (32, 64)}
SMALL_REWARDS, TINY_REWARDS = {"return_scale": 10.0}, {"return_scale": 100.0}
"""Unscaled, rewards of 0.5 or 0.1 a control step drown beside RFO's matching terms and SAPO's entropy."""


def _humanoid(name: str, summary: str) -> Task:
    settings = {"network.hidden": (256, 128), "critic.hidden": (128, 128)}
    return Task(
        "rfo.envs.tasks.humanoid", name, summary, 8_192_000, simulated=True, settings=settings
    )


def _hand(name: str, summary: str) -> Task:
    settings = {"network.hidden": (512, 256), "critic.hidden": (256, 256)}
    return Task(
        "rfo.envs.tasks.hand_reorient", name, summary, 4_096_000, simulated=True, settings=settings
    )


def _soft(
    module: str,
    name: str,
    summary: str,
    steps: int,
    settings: Mapping[str, Any],
    environments: int = 32,
    **more: Any,
) -> Task:
    module = f"rfo.envs.tasks.{module}"
    return Task(
        module, name, summary, steps, environments, simulated=True, settings=settings, **more
    )


_soft_walker = partial(_soft, "soft_jumper", fine=True)
_rolling = partial(_soft, "rolling_flat", approach=((0.0, -0.9, 0.0), 14), fine=True)
_carrying = partial(_soft, "fluid_move", fine=True)
_folding = partial(_soft, "hand_flip", approach=((0.0,) * 24, 35), fine=True)

TASKS: dict[str, Task] = {
    "ant": Task(
        "rfo.envs.tasks.ant",
        "Ant",
        "a four-legged robot runs forward (AntRun)",
        steps=4_096_000,
        simulated=True,
        settings={"network.hidden": (128, 64, 32), "critic.hidden": (64, 64)},
    ),
    "hopper": Task(
        "rfo.envs.tasks.hopper",
        "Hopper",
        "a one-legged robot hops forward",
        steps=2_048_000,
        simulated=True,
    ),
    "cheetah": Task(
        "rfo.envs.tasks.cheetah",
        "Cheetah",
        "half a cheetah runs forward",
        steps=4_096_000,
        simulated=True,
    ),
    "humanoid": _humanoid("humanoid", "a two-legged robot runs forward"),
    "humanoid_corrected": _humanoid(
        "humanoid_corrected", "the same, with the hips of its model file"
    ),
    "hand_reorient": _hand(
        "hand_reorient", "a hand turns a cube to a given orientation (HandReorient)"
    ),
    "hand_reorient_corrected": _hand("hand_reorient_corrected", "the same with the whole bonus"),
    "hand_reorient_smooth": _hand(
        "hand_reorient_smooth", "the same, with damping that sets in softly"
    ),
    "go2": Task(
        "rfo.envs.tasks.go2",
        "Go2",
        "a Unitree Go2 follows a velocity command",
        steps=4_096_000,
        simulated=True,
        settings={"network.hidden": (128, 64, 32), "critic.hidden": (128, 64)},
    ),
    "cartpole": Task(
        "rfo.envs.tasks.cartpole",
        "CartPole",
        "a cart swings up its pole",
        steps=512_000,
        simulated=True,
    ),
    "soft_jumper": _soft_walker(
        "soft_jumper",
        "a soft table with 222 muscles jumps forward (SoftJumper)",
        6_144_000,
        MUSCLES,
    ),
    "soft_jumper_corrected": _soft_walker(
        "soft_jumper_corrected",
        "the same body, seen and scaled about its own centre",
        6_144_000,
        MUSCLES,
    ),
    "soft_jumper_camera": _soft_walker(
        "soft_jumper_camera", "the corrected one, seen by a depth camera", 6_144_000, MUSCLES
    ),
    "soft_jumper_small": _soft_walker(
        "soft_jumper_small", "a soft bench with 25 muscles jumps forward", 512_000, SOFT_SMALL
    ),
    "soft_jumper_small_camera": _soft_walker(
        "soft_jumper_small_camera", "the soft bench, seen by a depth camera", 512_000, SOFT_SMALL
    ),
    "soft_worm": _soft_walker(
        "soft_worm", "a soft beam with 40 muscles moves forward", 512_000, SOFT_SMALL
    ),
    "rolling_flat": _rolling(
        "rolling_flat",
        "a pin rolls plasticine flat (RollingFlat)",
        4_096_000,
        PARTICLES | SMALL_REWARDS,
    ),
    "rolling_flat_corrected": _rolling(
        "rolling_flat_corrected",
        "the same, with heights from the ground",
        4_096_000,
        PARTICLES | SMALL_REWARDS,
    ),
    "rolling_flat_small": _rolling(
        "rolling_flat_small",
        "a pin rolls 400 particles flat",
        128_000,
        SOFT_SMALL | SMALL_REWARDS,
        environments=8,
    ),
    "fluid_move": _carrying(
        "fluid_move", "a box carries water (FluidMove)", 4_096_000, PARTICLES | TINY_REWARDS
    ),
    "fluid_move_corrected": _carrying(
        "fluid_move_corrected",
        "the same, where spilling has a gradient",
        4_096_000,
        PARTICLES | TINY_REWARDS,
    ),
    "fluid_move_small": _carrying(
        "fluid_move_small",
        "a box carries 400 particles of water",
        128_000,
        SOFT_SMALL | TINY_REWARDS,
        environments=8,
    ),
    "hand_flip": _folding(
        "hand_flip",
        "a hand folds a disc of plasticine (HandFlip)",
        6_144_000,
        PARTICLES | SMALL_REWARDS,
    ),
    "hand_flip_corrected": _folding(
        "hand_flip_corrected",
        "the same, scaled about its own middle",
        6_144_000,
        PARTICLES | SMALL_REWARDS,
    ),
    "hand_flip_small": _folding(
        "hand_flip_small",
        "a hand folds 400 particles",
        128_000,
        SOFT_SMALL | SMALL_REWARDS,
        environments=8,
    ),
    "pendulum": Task(
        "rfo.envs.tasks.pendulum",
        "Pendulum",
        "Gymnasium's swing-up",
        steps=204_800,
        environments=16,
    ),
    "quadratic": Task(
        "rfo.envs.tasks.probe", "Quadratic", "closed form: one step, one optimum", steps=204_800
    ),
    "reach_cloud": Task(
        "rfo.envs.tasks.probe", "ReachCloud", "closed form: a point cloud to reach", steps=204_800
    ),
    "lqr": Task(
        "rfo.envs.tasks.probe", "LQR", "closed form: linear dynamics, quadratic cost", steps=204_800
    ),
    "terminating": Task(
        "rfo.envs.tasks.probe", "Terminating", "closed form: episodes that end", steps=204_800
    ),
    "truncating": Task(
        "rfo.envs.tasks.probe",
        "Truncating",
        "closed form: episodes cut by the clock",
        steps=204_800,
    ),
    "delayed": Task(
        "rfo.envs.tasks.probe", "Delayed", "closed form: reward one step late", steps=204_800
    ),
    "bimodal": Task(
        "rfo.envs.tasks.probe",
        "Bimodal",
        "closed form: two modes beat every Gaussian",
        steps=204_800,
    ),
}

REUSE: dict[str, Any] = {"reuse.steps": 8}

HELD = {"c_past": 1.0, "c_uni": 0.5}
"""What several steps need of the matching terms: exploration that keeps actions away from their
bounds, and a flow whose field obeys L_uni only where the policy goes."""

ALGORITHMS: dict[str, Method] = {
    "rfo": Method("rfo.algos.rfo", "RFO", "reparameterization flow policy optimization"),
    "sapo": Method("rfo.algos.sapo", "SAPO", "soft analytic policy optimization"),
    "shac": Method("rfo.algos.shac", "SHAC", "short-horizon actor-critic"),
    "apg": Method("rfo.algos.apg", "APG", "analytic policy gradient, no critic"),
    "ppo": Method("rfo.algos.ppo", "PPO", "proximal policy optimization, model-free"),
    "sac": Method("rfo.algos.sac", "SAC", "soft actor-critic, model-free, off-policy"),
    "fpo": Method("rfo.algos.fpo", "FPO", "flow policy optimization, model-free"),
    "soft_flow": Method(
        "rfo.algos.soft_flow",
        "SoftFlow",
        "a flow policy with SAPO's entropy in place of RFO's terms",
    ),
    "naive_flow": Method(
        "rfo.algos.rfo", "RFO", "RFO without its two matching terms", {"c_past": 0.0, "c_uni": 0.0}
    ),
    "rfo_bound": Method(
        "rfo.algos.rfo", "RFO", "RFO with actions held off their bounds, too", {"c_bound": 0.3}
    ),
    "rfo_reuse": Method(
        "rfo.algos.rfo",
        "RFO",
        "RFO with several actor steps on each rollout's gradient",
        REUSE | HELD,
    ),
    "sapo_reuse": Method("rfo.algos.sapo", "SAPO", "SAPO, likewise", REUSE),
    "soft_flow_reuse": Method("rfo.algos.soft_flow", "SoftFlow", "the soft flow, likewise", REUSE),
    "shac2": Method(
        "rfo.algos.sapo",
        "SAPO",
        "SHAC with SAPO's policy and settings: SAPO without entropy",
        {"initial_alpha": 1e-30, "alpha_learning_rate": 0.0},
    ),
}
"""Algorithms, then variants. An entropy of weight 1e-30 is lost in float32 beside any reward."""
