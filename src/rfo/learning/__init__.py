"""Learning benchmarks: suites of tasks, methods and seeds, and the processes that train them."""
