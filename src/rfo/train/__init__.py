"""The earlier place of `rfo.training`. `rfo.train` itself is the function that trains."""
