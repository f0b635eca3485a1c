"""The memory of the process, on a CPU."""

import ctypes
import importlib.metadata
import importlib.util
import os
import platform

import jax

TRIM_THRESHOLD, MMAP_THRESHOLD, ARENA_MAX = -1, -3, -8  # of mallopt, in glibc's malloc.h
LARGEST = 2**31 - 1  # bytes: the most that mallopt takes
SHARE = 16  # a block of more than this part of all memory is given back, lest gaps between blocks cost too much


def keep_memory() -> bool:
    """Keeps the memory that JAX frees on a CPU for what it computes next. Call it before JAX computes anything.

    XLA allocates what a computation holds in between anew each time that it runs. The C library gets blocks as large as
    that from the kernel and gives them back at once, and the kernel clears every page of them when it is touched again:
    that was half of a training step of MobileNetV2 (batch of 8, one core), and a third of one of ResNet-50.

    The process then holds the most that it ever needed, and more where blocks do not fit into the gaps that others left
    (1.4 GB in place of 1.2 where ResNet-18 is trained). Blocks of more than a sixteenth of the machine's memory, or of
    2 GiB, are given back as ever. The threads of the process share one pool, but those that are there already keep
    theirs.

    Returns:
        Whether memory will be kept: not where JAX finds an accelerator, nor with another C library than glibc.
    """
    if not _computes_on_cpu() or platform.libc_ver()[0] != "glibc":
        return False
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    options = {TRIM_THRESHOLD: -1, MMAP_THRESHOLD: min(memory // SHARE, LARGEST), ARENA_MAX: 1}
    library = ctypes.CDLL(None)
    return sum(library.mallopt(option, value) for option, value in options.items()) == len(options)


def _computes_on_cpu() -> bool:
    if platforms := jax.config.jax_platforms:
        return platforms.split(",")[0] == "cpu"
    return not importlib.metadata.entry_points(group="jax_plugins") and importlib.util.find_spec("libtpu") is None
