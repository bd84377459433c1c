import pytest


@pytest.fixture(autouse=True)
def symbolic_batch(annotations_unchecked):
    """Exports are traced with a batch of no fixed size, which annotations can't be checked for."""
