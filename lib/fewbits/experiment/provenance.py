"""Where a record comes from: code, data, versions and hardware, and nothing that identifies the machine."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from functools import cache
from hashlib import sha256
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np

import fewbits
from fewbits.backend import keras


def describe(checksum: str, start: bytes | None, seconds: float) -> dict[str, Any]:
    """Return the provenance of a record.

    Args:
        checksum: Of the data.
        start: The weights it started from, of which the SHA-256 is kept; None if there are none.
        seconds: How long it took, since it was last resumed.
    """
    return {
        "fewbits": fewbits.__version__,
        "commit": _commit(),
        "data": checksum,
        "start": None if start is None else sha256(start).hexdigest(),
        "versions": _versions(),
        "hardware": _hardware(),
        "seconds": round(seconds, 1),
        "date": datetime.now(UTC).date().isoformat(),
    }


@cache
def _commit() -> dict[str, Any] | None:
    """Return the commit of this package, and whether it was changed since; None if it is not in a git checkout."""
    if (
        _git("ls-files", "--error-unmatch", "__init__.py") is None
    ):  # installed, perhaps inside another project's checkout
        return None
    return {"id": _git("rev-parse", "HEAD"), "dirty": bool(_git("status", "--porcelain", "."))}


def _git(*arguments: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", *arguments], cwd=Path(fewbits.__file__).parent, capture_output=True, text=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        return None
    return done.stdout.strip()


@cache
def _versions() -> dict[str, str]:
    backend = keras.backend.backend()
    return {
        "python": platform.python_version(),
        "keras": keras.__version__,
        backend: import_module(backend).__version__,
        "numpy": np.__version__,
    }


@cache
def _hardware() -> dict[str, Any]:
    cores = os.cpu_count() or 1
    return {
        "cpu": _cpu(),
        "cores": cores,
        "threads": int(os.environ.get("TF_NUM_INTRAOP_THREADS") or cores),
        "gpu": _gpu(),
    }


def _cpu() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        return next(line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        return platform.processor() or platform.machine()


def _gpu() -> str | None:
    backend = keras.backend.backend()
    if backend == "tensorflow":
        from tensorflow import config

        names = [config.experimental.get_device_details(d)["device_name"] for d in config.list_physical_devices("GPU")]
    elif backend == "jax":
        import jax

        names = [device.device_kind for device in jax.devices() if device.platform == "gpu"]
    else:
        names = []
    return names[0] if names else None
