"""What is kept of the memory that JAX frees on a CPU."""

import mmap
import platform
import subprocess
import sys
from types import SimpleNamespace

import pytest

from jaxvision import memory

SCRIPT = """
import resource
import statistics
import jax
import jax.numpy as jnp
import jaxvision as jv

keeps = {keeps} and jv.keep_memory()

@jax.jit
def product(x):  # by way of 64 MiB
    return jnp.outer(x, x) @ x

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

x = jnp.ones(4096)
steps = []
for _ in range(80):
    before = faults()
    product(x).block_until_ready()
    steps.append(faults() - before)
print(keeps, statistics.median(steps))
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="it is glibc that gives memory back")
@pytest.mark.parametrize("keeps", [False, True])
def test_pages_that_were_freed_are_not_cleared_again(keeps):
    """Of the typical step: blocks take some ten steps to find their places, and now and then find another."""
    command = [sys.executable, "-c", SCRIPT.format(keeps=keeps)]
    kept, faults = subprocess.run(command, check=True, capture_output=True, text=True).stdout.split()
    pages = 2**26 // mmap.PAGESIZE
    assert kept == str(keeps)
    assert float(faults) < pages / 100 if keeps else float(faults) >= pages


@pytest.mark.parametrize(("platforms", "does"), [("cpu", True), ("cuda,cpu", False), ("tpu", False)])
def test_memory_is_kept_where_jax_is_told_to_compute_on_a_cpu(monkeypatch, platforms, does):
    monkeypatch.setattr(memory.jax, "config", SimpleNamespace(jax_platforms=platforms))
    assert memory._computes_on_cpu() == does


def test_memory_is_not_kept_where_an_accelerator_can_be_found(monkeypatch):
    monkeypatch.setattr(memory.jax, "config", SimpleNamespace(jax_platforms=None))
    plugins = ["xla_cuda12"]
    found = lambda group: plugins if group == "jax_plugins" else []
    monkeypatch.setattr(memory.importlib.metadata, "entry_points", found)
    assert not memory.keep_memory()
    plugins.clear()
    monkeypatch.setattr(memory.importlib.util, "find_spec", lambda name: name == "libtpu" or None)
    assert not memory.keep_memory()


def test_other_c_libraries_are_left_alone(monkeypatch):
    monkeypatch.setattr(memory.platform, "libc_ver", lambda: ("", ""))
    assert not memory.keep_memory()
