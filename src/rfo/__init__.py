"""Reparameterization Flow Policy Optimization: flow policies and differentiable physics.

The names below are the library's interface. They are imported when they are first used;
docs/api.md lists them.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rfo.algos.apg import APG
    from rfo.algos.fpo import FPO
    from rfo.algos.ppo import PPO
    from rfo.algos.rfo import RFO
    from rfo.algos.sac import SAC
    from rfo.algos.sapo import SAPO
    from rfo.algos.self_tuned import SelfTunedRFO
    from rfo.algos.settings import Critic, Flow, Network, Optimiser
    from rfo.algos.shac import SHAC
    from rfo.algos.soft_flow import SoftFlow
    from rfo.envs.base import Environment, EnvSpec, Step
    from rfo.envs.batch import Batch
    from rfo.envs.chunk import ChunkedBatch
    from rfo.envs.robot import Robot
    from rfo.errors import RunError, SettingError
    from rfo.experiment.api import Run, evaluate, load, make, train, train_seeds
    from rfo.experiment.catalogue import methods, register_task, tasks
    from rfo.experiment.gradients import check_gradient
    from rfo.experiment.record import Evaluation, Experiment, TaskSettings, preset
    from rfo.policies.flow import FlowPolicy
    from rfo.policies.gaussian import GaussianPolicy

__version__ = "0.2.0"

_PLACES = {
    "APG": "algos.apg",
    "FPO": "algos.fpo",
    "PPO": "algos.ppo",
    "RFO": "algos.rfo",
    "SAC": "algos.sac",
    "SAPO": "algos.sapo",
    "SHAC": "algos.shac",
    "SelfTunedRFO": "algos.self_tuned",
    "SoftFlow": "algos.soft_flow",
    "Critic": "algos.settings",
    "Flow": "algos.settings",
    "Network": "algos.settings",
    "Optimiser": "algos.settings",
    "EnvSpec": "envs.base",
    "Environment": "envs.base",
    "Step": "envs.base",
    "Batch": "envs.batch",
    "ChunkedBatch": "envs.chunk",
    "Robot": "envs.robot",
    "RunError": "errors",
    "SettingError": "errors",
    "Run": "experiment.api",
    "evaluate": "experiment.api",
    "load": "experiment.api",
    "make": "experiment.api",
    "train": "experiment.api",
    "train_seeds": "experiment.api",
    "methods": "experiment.catalogue",
    "register_task": "experiment.catalogue",
    "tasks": "experiment.catalogue",
    "check_gradient": "experiment.gradients",
    "Evaluation": "experiment.record",
    "Experiment": "experiment.record",
    "TaskSettings": "experiment.record",
    "preset": "experiment.record",
    "FlowPolicy": "policies.flow",
    "GaussianPolicy": "policies.gaussian",
}
"""Module of each public name, below this package."""

__all__ = [
    "APG",
    "FPO",
    "PPO",
    "RFO",
    "SAC",
    "SAPO",
    "SHAC",
    "Batch",
    "ChunkedBatch",
    "Critic",
    "EnvSpec",
    "Environment",
    "Evaluation",
    "Experiment",
    "Flow",
    "FlowPolicy",
    "GaussianPolicy",
    "Network",
    "Optimiser",
    "Robot",
    "Run",
    "RunError",
    "SelfTunedRFO",
    "SettingError",
    "SoftFlow",
    "Step",
    "TaskSettings",
    "check_gradient",
    "evaluate",
    "load",
    "make",
    "methods",
    "preset",
    "register_task",
    "tasks",
    "train",
    "train_seeds",
]


def __getattr__(name: str) -> Any:
    if name not in _PLACES:
        raise AttributeError(f"module 'rfo' has no attribute '{name}'")
    return getattr(import_module(f"rfo.{_PLACES[name]}"), name)


def __dir__() -> list[str]:
    return [*__all__, "__version__"]
