"""Speed of simulation and training, measured by `rfo bench speed`.

`measure` starts a process for each measurement: `worker` for a task, `peer` for Brax, `mjx` for
MJX. `table` prints the result.
"""
