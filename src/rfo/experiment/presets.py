"""The tasks and methods that rfo brings, and what their presets set: one table of each.

Nothing heavy is imported here: modules are named, and imported when something of theirs is built.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, Any

from rfo.experiment import own

if TYPE_CHECKING:
    from rfo.envs.base import Environment


@dataclass(frozen=True)
class Task:
    """A task and its preset."""

    module: str
    """Module, or Python file, that holds the task."""
    name: str
    """Class or function in it that makes the task."""
    summary: str
    steps: int = 1_000_000
    """Environment steps of a training run."""
    environments: int = 64
    simulated: bool = False
    """Whether it runs on the physics engine."""
    approach: tuple[tuple[float, ...], int] | None = None
    """An action, and for how many steps: after them a tool that starts out of reach touches what it
    works on. Before that no reward has a gradient to check."""
    fine: bool = False
    """Whether its gradient is checked in double precision, with smaller steps: where kinks are many
    and small, differences at the steps that single precision can resolve do not converge."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that differ from a method's defaults, by dotted name (``critic.iterations``). They
    apply to the methods that have them."""
    factory: Callable[..., Environment] | None = None
    """What makes the task, where it was registered by the program that runs."""

    def load(self) -> Callable[..., Environment]:
        """Import what makes the task.

        Raises:
            SettingError: if a task of the user's own cannot be imported.
        """
        if self.factory is not None:
            return self.factory
        if self.module.startswith("rfo."):
            return getattr(import_module(self.module), self.name)
        return own.load(self.module, self.name)


@dataclass(frozen=True)
class Method:
    """An algorithm, or a variant of one: the same class with other settings."""

    module: str
    name: str
    summary: str
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Settings that make the variant; they come before a task's."""

    def load(self) -> type:
        """Import the algorithm's class."""
        return getattr(import_module(self.module), self.name)


SOFT = {
    "network.hidden": (512, 256),
    "critic.hidden": (256, 256),
    "network.point_hidden": (16,),
    "critic.iterations": 8,
    "capacity": 32_768,
}
"""The reference's networks for soft bodies, except for what costs most on a CPU: its encoder has
the layers (64, 128, 256) per point, and its critics make 16 passes. Equal for all methods."""

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
"""For 222 actions: L_uni is a mean over them, so that each has a weight of c_uni / 222."""

PARTICLES = SOFT | {"network.point_hidden": (32, 64)}
SMALL_REWARDS, TINY_REWARDS = {"return_scale": 10.0}, {"return_scale": 100.0}
"""Without a scale, rewards of 0.5 or 0.1 a control step are small beside RFO's matching terms and
SAPO's entropy."""


def _layers(network: tuple[int, ...], critic: tuple[int, ...]) -> dict[str, Any]:
    return {"network.hidden": network, "critic.hidden": critic}


WALKING = {"horizon": 16, **_layers((128, 128, 128), (128, 128))}
"""Settings of robots with the contacts of their files: over 32 steps their gradient is chaotic."""


def _task(module: str, name: str, summary: str, steps: int, *more: Any, **others: Any) -> Task:
    return Task(f"rfo.envs.tasks.{module}", name, summary, steps, *more, **others)


_robot = partial(_task, simulated=True)
_runner = partial(_robot, "humanoid", steps=8_192_000, settings=_layers((256, 128), (128, 128)))
_hand = partial(_robot, "hand_reorient", steps=4_096_000, settings=_layers((512, 256), (256, 256)))


def _soft(
    module: str,
    name: str,
    summary: str,
    steps: int,
    settings: Mapping[str, Any],
    environments: int = 32,
    **more: Any,
) -> Task:
    return _robot(module, name, summary, steps, environments, settings=settings, **more)


_walker = partial(_soft, "soft_jumper", fine=True)
_rolling = partial(_soft, "rolling_flat", approach=((0.0, -0.9, 0.0), 14), fine=True)
_carrying = partial(_soft, "fluid_move", fine=True)
_folding = partial(_soft, "hand_flip", approach=((0.0,) * 24, 35), fine=True)
_probe = partial(_task, "probe", steps=204_800)

TASKS: dict[str, Task] = {
    "ant": _robot(
        "ant",
        "Ant",
        "a four-legged robot runs forward (AntRun)",
        4_096_000,
        settings=_layers((128, 64, 32), (64, 64)),
    ),
    "hopper": _robot("hopper", "Hopper", "a one-legged robot hops forward", 2_048_000),
    "cheetah": _robot("cheetah", "Cheetah", "half a cheetah runs forward", 4_096_000),
    "humanoid": _runner("humanoid", "a two-legged robot runs forward"),
    "humanoid_corrected": _runner(
        "humanoid_corrected", "the same, with the hips of its model file"
    ),
    "hand_reorient": _hand(
        "hand_reorient", "a hand turns a cube to a given orientation (HandReorient)"
    ),
    "hand_reorient_corrected": _hand("hand_reorient_corrected", "the same with the whole bonus"),
    "hand_reorient_smooth": _hand(
        "hand_reorient_smooth", "the same, with damping that sets in softly"
    ),
    "go2": _robot(
        "go2",
        "Go2",
        "a Unitree Go2 follows a velocity command",
        4_096_000,
        settings=_layers((128, 64, 32), (128, 64)),
    ),
    "go2_velocity": _robot(
        "velocity",
        "go2",
        "a Unitree Go2 follows a command, paid by terms that can be chosen",
        524_288,
        settings=WALKING,
    ),
    "g1_velocity": _robot(
        "velocity",
        "g1",
        "a Unitree G1 humanoid follows a velocity command",
        786_432,
        settings=WALKING,
    ),
    "cartpole": _robot("cartpole", "CartPole", "a cart swings up its pole", 512_000),
    "soft_jumper": _walker(
        "soft_jumper",
        "a soft table with 222 muscles jumps forward (SoftJumper)",
        6_144_000,
        MUSCLES,
    ),
    "soft_jumper_corrected": _walker(
        "soft_jumper_corrected",
        "the same body, seen and scaled about its own centre",
        6_144_000,
        MUSCLES,
    ),
    "soft_jumper_camera": _walker(
        "soft_jumper_camera", "the corrected one, seen by a depth camera", 6_144_000, MUSCLES
    ),
    "soft_jumper_small": _walker(
        "soft_jumper_small", "a soft bench with 25 muscles jumps forward", 512_000, SOFT_SMALL
    ),
    "soft_jumper_small_camera": _walker(
        "soft_jumper_small_camera", "the soft bench, seen by a depth camera", 512_000, SOFT_SMALL
    ),
    "soft_worm": _walker(
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
    "pendulum": _task("pendulum", "Pendulum", "Gymnasium's swing-up", 204_800, environments=16),
    "detour": _task("detour", "Detour", "a disc flies around a column, left or right", 204_800),
    "quadratic": _probe("Quadratic", "closed form: one step, one optimum"),
    "reach_cloud": _probe("ReachCloud", "closed form: a point cloud to reach"),
    "lqr": _probe("LQR", "closed form: linear dynamics, quadratic cost"),
    "terminating": _probe("Terminating", "closed form: episodes that end"),
    "truncating": _probe("Truncating", "closed form: episodes cut by the clock"),
    "delayed": _probe("Delayed", "closed form: reward one step late"),
    "bimodal": _probe("Bimodal", "closed form: two modes beat every Gaussian"),
}

REUSE: dict[str, Any] = {"reuse.steps": 8}

HELD = {"c_past": 1.0, "c_uni": 0.5}
"""Weights of RFO's terms for several actor steps. Exploration must keep actions away from their
bounds, and L_uni must shape the flow's field only where the policy goes."""

METHODS: dict[str, Method] = {
    "rfo": Method(
        "rfo.algos.self_tuned",
        "SelfTunedRFO",
        "reparameterization flow policy optimization; its weights tune themselves",
    ),
    "rfo_fixed": Method("rfo.algos.rfo", "RFO", "RFO with the paper's fixed weights"),
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
        "rfo.algos.rfo",
        "RFO",
        "rfo_fixed without its two matching terms",
        {"c_past": 0.0, "c_uni": 0.0},
    ),
    "rfo_bound": Method(
        "rfo.algos.rfo",
        "RFO",
        "rfo_fixed that keeps actions away from their bounds",
        {"c_bound": 0.3},
    ),
    "rfo_reuse": Method(
        "rfo.algos.rfo",
        "RFO",
        "rfo_fixed with several actor steps on each rollout's gradient",
        REUSE | HELD,
    ),
    "sapo_reuse": Method(
        "rfo.algos.sapo", "SAPO", "SAPO with several actor steps on each rollout", REUSE
    ),
    "sapo_tuned": Method(
        "rfo.algos.sapo",
        "SAPO",
        "SAPO with the actor steps and the critics of rfo",
        REUSE | {"critic.per_step": True},
    ),
    "soft_flow_reuse": Method(
        "rfo.algos.soft_flow",
        "SoftFlow",
        "the soft flow with several actor steps on each rollout",
        REUSE,
    ),
    "shac2": Method(
        "rfo.algos.sapo",
        "SAPO",
        "SHAC with SAPO's policy and settings: SAPO without entropy",
        {"initial_alpha": 1e-30, "alpha_learning_rate": 0.0},
    ),
}
"""Algorithms, then variants. An entropy of weight 1e-30 is lost in float32 beside any reward."""
