"""State in, state out: simulators, their model files, and the check of their gradients."""
