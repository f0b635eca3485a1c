"""Devices and how arrays lie on them: the one place, with the jit boundary, where sharding is said.

A mesh has two axes: `data`, over which the batch is dealt out, and `fsdp`, over which the batch is dealt out and the
parameters are cut up too.
"""

from collections.abc import Callable
from typing import Any, Literal

import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

Compilation = Literal["jit", "pmap"]
PMAP_AXIS = "batch"

# Arrays smaller than this stay whole on every device: cutting them up costs more in messages than it saves in memory.
SMALLEST_SHARDED = 2**14


def make_mesh(devices: int | None = None, fsdp: int = 1) -> Mesh:
    """Returns a mesh of the first `devices` devices (None for all), `fsdp` of them to a copy of the parameters.

    Raises:
        ValueError: there are not so many devices, or `fsdp` does not divide them.
    """
    available = jax.devices()
    count = len(available) if devices is None else devices
    if not 1 <= count <= len(available):
        raise ValueError(f"--devices {count}: this machine has {len(available)} {available[0].platform} device(s)")
    if fsdp < 1 or count % fsdp:
        raise ValueError(f"--fsdp {fsdp} does not divide {count} device(s)")
    shape = (count // fsdp, fsdp)
    # Auto axes: under explicit ones (the default of new JAX) Dropout, Embed and concatenated tokens fail.
    return jax.make_mesh(shape, ("data", "fsdp"), axis_types=(AxisType.Auto,) * 2, devices=available[:count])


def replicated(mesh: Mesh) -> NamedSharding:
    """The whole array on every device."""
    return NamedSharding(mesh, P())


def batch_sharding(mesh: Mesh, axis: int = 0) -> NamedSharding:
    """The given axis dealt out over all devices."""
    return NamedSharding(mesh, P(*[None] * axis, ("data", "fsdp")))


def state_sharding(state: Any, mesh: Mesh) -> Any:
    """Returns the sharding of each array of a state: its largest axis that divides, cut over `fsdp`; small ones whole.

    Args:
        state: a pytree of arrays or of their shapes.
        mesh: from `make_mesh`.
    """
    parts = mesh.shape["fsdp"]

    def shard(leaf: Any) -> NamedSharding:
        axes = [axis for axis, length in enumerate(leaf.shape) if length % parts == 0]
        if parts == 1 or not axes or np.prod(leaf.shape) < SMALLEST_SHARDED:
            return replicated(mesh)
        axis = max(axes, key=lambda axis: leaf.shape[axis])
        return NamedSharding(mesh, P(*[None] * axis, "fsdp"))

    return jax.tree.map(shard, state)


def compile_steps(run: Callable, sharding: Any, mesh: Mesh, compilation: Compilation, *, axis: int) -> Callable:
    """Compiles `run(state, data, batches) -> (state, metrics)` for the devices of a mesh; the state is donated.

    Args:
        run: pure; `data` and `metrics` are whole on every device.
        sharding: of the state, from `state_sharding`.
        mesh: from `make_mesh`.
        compilation: "jit" compiles one program for all devices; "pmap" a copy of `run` for each, which gets its part of
            each batch and must itself add up over `PMAP_AXIS`.
        axis: that of the batch in the arrays of `batches`.

    Raises:
        ValueError: `pmap` is asked to cut up the parameters.
    """
    if compilation == "jit":
        whole = replicated(mesh)
        shardings = (sharding, whole, batch_sharding(mesh, axis))
        return jax.jit(run, in_shardings=shardings, out_shardings=(sharding, whole), donate_argnums=0)
    if mesh.shape["fsdp"] > 1:
        raise ValueError(f"--compile pmap only deals batches out: --fsdp {mesh.shape['fsdp']} wants --compile jit")
    devices = list(mesh.devices.flat)
    mapped = jax.pmap(run, PMAP_AXIS, in_axes=(None, None, axis), out_axes=None, devices=devices, donate_argnums=0)
    deal = lambda array: array.reshape(*array.shape[:axis], len(devices), -1, *array.shape[axis + 1 :])
    return lambda state, data, batches: mapped(state, data, jax.tree.map(deal, batches))


def check_batch_size(batch_size: int, mesh: Mesh, accumulate: int = 1) -> None:
    """Raises ValueError where a batch cannot be dealt out evenly."""
    if batch_size < 1 or batch_size % (mesh.size * accumulate):
        raise ValueError(
            f"--batch-size {batch_size} is not a multiple of {mesh.size} device(s) x {accumulate} microbatch(es)"
        )
