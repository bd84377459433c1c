"""Training: the loop, evaluation, checkpoints and records.

The only room with clocks, disks and screens.
"""
