"""Training: the loop, evaluation, checkpoints and records; the only room with clocks, disks and screens."""
