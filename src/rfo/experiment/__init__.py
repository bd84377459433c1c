"""Experiments: their record, tasks and methods by name, and a run from start to end."""
