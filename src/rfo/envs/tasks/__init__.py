"""The tasks that come with rfo, one file each."""
