"""Where a run or a measurement was made."""

import os
import platform
from pathlib import Path
from typing import Any

import jax


def machine() -> dict[str, Any]:
    """Returns the devices, the processor and the versions that figures depend on."""
    devices = jax.devices()
    accelerator = {} if devices[0].platform == "cpu" else {"device": devices[0].device_kind, "devices": len(devices)}
    versions = {"python": platform.python_version(), "jax": jax.__version__}
    return {**accelerator, "cpu": _cpu_name(), "cores": len(os.sched_getaffinity(0)), **versions}


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    return next((line.split(":")[1].strip() for line in lines if line.startswith("model name")), platform.processor())
