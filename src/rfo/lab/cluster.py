"""What a suite asks of a cluster."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rfo.errors import SettingError


@dataclass(frozen=True)
class Slurm:
    """What to ask of Slurm for each training; see `man sbatch`."""

    cluster: Literal["slurm", "local"] = "slurm"
    """local: try the same way on this machine, all trainings at once, without Slurm."""
    partition: str = ""
    """Partition, if not the default one."""
    account: str = ""
    """Account that is charged, if not the default one."""
    hours: float = 24.0
    """Time of one job [h]. A training that needs more time queues again and goes on."""
    memory_gb: float = 0.0
    """Memory of each training; 0: twice what it is estimated to need."""
    gpus: int = 0
    """GPUs of each training."""
    at_once: int = 256
    """Largest number of trainings that run at the same time."""
    setup: tuple[str, ...] = ()
    """Shell commands before each training, such as 'module load cuda'."""

    def __post_init__(self) -> None:
        if not self.hours > 0:
            raise SettingError(f"hours must be above 0, not {self.hours}", "hours")
        if self.at_once < 1:
            raise SettingError(f"at_once must be at least 1, not {self.at_once}", "at_once")
        for name in ("memory_gb", "gpus"):
            if getattr(self, name) < 0:
                raise SettingError(f"{name} must not be below 0", name)
