"""Before jax starts: a CPU that stands for eight devices, unless the environment says otherwise."""

import os

os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ.setdefault("JAX_NUM_CPU_DEVICES", "8")

import pytest


@pytest.fixture(autouse=True, scope="module")
def _compiled_programs_are_forgotten():
    """After each file of tests: a process that kept all of them would need many gigabytes."""
    yield
    import jax

    jax.clear_caches()


@pytest.fixture(scope="module")
def compiled_quickly():
    """Compiles without optimization: for what runs once on tiny arrays, which takes longer to compile than to run."""
    import jax

    jax.config.update("jax_disable_most_optimizations", True)
    yield
    jax.config.update("jax_disable_most_optimizations", False)
