"""What a training run is: its record, the tasks and methods by name, and a run from start to end."""
