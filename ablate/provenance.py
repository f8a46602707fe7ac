"""Versions and hardware that a result comes from, which may change its last bits."""

import os
import platform
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

from ablate import __version__

PACKAGES = ("torch", "ray", "optuna", "polars", "numpy", "scikit-learn")


@cache
def package_versions() -> dict[str, str]:
    """Return the versions of Python, this package, and the packages that results depend on."""
    packages = {name: metadata.version(name) for name in PACKAGES}
    return {"python": platform.python_version(), "ablate": __version__, **packages}


def processor() -> str:
    """Return the model name of the processor, or its architecture where the system states no more."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except OSError:
        lines = []
    models = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(models, platform.machine())


def available_cpus() -> int:
    """Return how many CPUs this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def training_environment(device: str = "cpu", workers: int = 1) -> dict[str, Any]:
    """Return the versions and hardware that this process trains with; equal ones give equal results bit for bit."""
    import torch

    from trainables import native
    from trainables.compilation import find_compiler

    return {
        **package_versions(),
        "processor": processor(),
        "instructions": torch.backends.cpu.get_cpu_capability(),
        "compiler": find_compiler(),  # None: steps are not compiled
        "kernels": native.is_used(),
        "threads": torch.get_num_threads(),
        "device": torch.cuda.get_device_name() if device == "cuda" else device,
        "workers": workers,
    }
