"""Tasks: simulator, observation, reward, reset and termination, one file each."""
