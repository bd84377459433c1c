"""Speed of simulation and training, measured by `rfo bench speed`.

`measure` starts a process for each measurement: `worker` for a task, `peer` for Brax. `table`
prints the result.
"""
