"""Driver, CUDA, torch, packages and GPUs of this machine, as far as they can be read without running a kernel."""

from __future__ import annotations

import os
import platform
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

from costplan.kernels.library import said, version_of
from costplan.kernels.nvml import telemetry

PACKAGES = ("torch", "triton", "vllm", "flash-attn", "flash-attn-4", "fa3-fwd", "flashinfer-python", "deep_gemm",
            "nvidia-cudnn-cu13", "nvidia-cudnn-cu12", "nvidia-ml-py", "transformers", "numpy")
PINNED_BY = ("torch", "vllm", "flash-attn", "flashinfer-python")
_PIN = re.compile(r"([A-Za-z0-9._-]+)\s*==\s*([0-9][^\s;,*]*)\s*(?:;.*)?\Z")


def environment() -> dict[str, Any]:
    """Facts by name; what cannot be read is None or absent. Imports torch; never raises."""
    return {"python": platform.python_version(), "system": f"{platform.system()} {platform.release()}",
            "packages": {n: v for n in PACKAGES if (v := version_of(n))}, "pins": pins(), "nvcc": nvcc(),
            "driver_loaded": Path("/proc/driver/nvidia/version").exists(), "torch": torch_facts(), **driver(),
            "telemetry": telemetry("cuda")}


def torch_facts() -> dict[str, Any]:
    """Builds and devices as torch sees them."""
    try:
        import torch
    except BaseException as e:
        return {"error": said(e)}
    out: dict[str, Any] = {"version": torch.__version__, "cuda": torch.version.cuda}
    try:
        cudnn: Any = torch.backends.cudnn
        out["cudnn"] = cudnn.version()
        out["gpus"] = [_gpu(torch.cuda.get_device_properties(i)) for i in range(torch.cuda.device_count())]
    except (RuntimeError, AssertionError, OSError) as e:
        out["cuda_error"] = said(e)
    return out


def _gpu(p: Any) -> dict[str, Any]:
    return {"name": p.name, "capability": f"{p.major}.{p.minor}", "memory_bytes": p.total_memory,
            "multiprocessors": p.multi_processor_count, "l2_bytes": getattr(p, "L2_cache_size", None)}


def driver() -> dict[str, Any]:
    """Driver version and the newest CUDA that it runs, from NVML."""
    try:
        import pynvml

        pynvml.nvmlInit()
    except BaseException as e:
        missing = isinstance(e, ModuleNotFoundError)
        return {"driver": None, "driver_cuda": None,
                "driver_unread": "pynvml is not installed: pip install nvidia-ml-py" if missing else said(e)}
    try:
        number = int(pynvml.nvmlSystemGetCudaDriverVersion_v2())
        name = pynvml.nvmlSystemGetDriverVersion()
        return {"driver": name.decode() if isinstance(name, bytes) else name,
                "driver_cuda": f"{number // 1000}.{number % 1000 // 10}"}
    except pynvml.NVMLError as e:
        return {"driver": None, "driver_cuda": None, "driver_unread": said(e)}
    finally:
        pynvml.nvmlShutdown()


def nvcc() -> str | None:
    """Version of the CUDA compiler that libraries would call at first use; None where there is none."""
    home = os.environ.get("CUDA_HOME") or os.environ.get("CUDA_PATH") or "/usr/local/cuda"
    path = next((p for p in (str(Path(home) / "bin" / "nvcc"), shutil.which("nvcc")) if p and Path(p).is_file()), None)
    if path is None:
        return None
    try:
        text = subprocess.run([path, "--version"], capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.search(r"release ([\d.]+)", text)
    return found[1] if found else None


def pins() -> list[dict[str, str]]:
    """Exact versions that installed packages ask of others: ``{by, of, wanted, found}`` where both are installed."""
    from importlib.metadata import PackageNotFoundError, requires

    out = []
    for package in PINNED_BY:
        try:
            wanted = requires(package) or []
        except PackageNotFoundError:
            continue
        for line in wanted:
            found = _PIN.match(line.split(";")[0].strip())
            if found and "extra ==" not in line and (here := version_of(found[1])):
                out.append({"by": package, "of": found[1], "wanted": found[2], "found": here})
    return out
