"""Environments: the contract that every task fulfils, batches of tasks, and the tasks
themselves."""
