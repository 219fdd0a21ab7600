"""What a device reports about its state, read and never set: clocks, power, temperature, throttling, load."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

Reading = float | str | None

THROTTLE_WORDS: Mapping[int, str] = {
    0x1: "idle", 0x2: "application clocks", 0x4: "power cap", 0x8: "hardware slowdown", 0x10: "sync boost",
    0x20: "software thermal", 0x40: "hardware thermal", 0x80: "hardware power brake", 0x100: "display clocks"}
"""NVML's reasons why clocks are below their maximum."""
HARMLESS = frozenset({"none", "idle", "power cap", "application clocks"})


def telemetry(device: str) -> dict[str, Reading]:
    """State of this process's ``cuda`` GPU, or of the ``cpu``. What cannot be read is None; ``unread`` says why."""
    return _gpu() if device == "cuda" else _cpu()


def throttled(reasons: str | None) -> bool:
    """Whether a text of ``throttle`` names something that makes timings unrepresentative."""
    return bool(reasons) and not {r.strip() for r in str(reasons).split(",")} <= HARMLESS


def throttle_words(bits: int) -> str:
    """NVML's bit mask as words."""
    words = [word for bit, word in THROTTLE_WORDS.items() if bits & bit]
    rest = bits & ~sum(THROTTLE_WORDS)
    return ", ".join(words + ([f"unknown {rest:#x}"] if rest else [])) or "none"


def _gpu() -> dict[str, Reading]:
    names = ("driver", "sm_mhz", "sm_max_mhz", "mem_mhz", "power_w", "power_limit_w", "temperature_c", "throttle",
             "ecc", "memory_used_bytes", "memory_used_by_others_bytes", "utilisation")
    try:
        import pynvml
    except ImportError:
        return {**dict.fromkeys(names), "unread": "pynvml is not installed: pip install nvidia-ml-py"}
    try:
        pynvml.nvmlInit()
    except pynvml.NVMLError as e:
        return {**dict.fromkeys(names), "unread": f"NVML: {e}"}
    try:
        return _readings(pynvml, _handle(pynvml))
    except pynvml.NVMLError as e:
        return {**dict.fromkeys(names), "unread": f"NVML: {e}"}
    finally:
        pynvml.nvmlShutdown()


def _handle(nvml: Any) -> Any:
    """The GPU that CUDA calls 0: the first of CUDA_VISIBLE_DEVICES, which holds numbers or UUIDs."""
    first = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0].strip() or "0"
    if first.isdigit():
        return nvml.nvmlDeviceGetHandleByIndex(int(first))
    return nvml.nvmlDeviceGetHandleByUUID(first)


def _readings(nvml: Any, handle: Any) -> dict[str, Reading]:
    readers: dict[str, Callable[[], Reading]] = {
        "driver": lambda: _text(nvml.nvmlSystemGetDriverVersion()),
        "sm_mhz": lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_SM)),
        "sm_max_mhz": lambda: float(nvml.nvmlDeviceGetMaxClockInfo(handle, nvml.NVML_CLOCK_SM)),
        "mem_mhz": lambda: float(nvml.nvmlDeviceGetClockInfo(handle, nvml.NVML_CLOCK_MEM)),
        "power_w": lambda: nvml.nvmlDeviceGetPowerUsage(handle) / 1e3,
        "power_limit_w": lambda: nvml.nvmlDeviceGetEnforcedPowerLimit(handle) / 1e3,
        "temperature_c": lambda: float(nvml.nvmlDeviceGetTemperature(handle, nvml.NVML_TEMPERATURE_GPU)),
        "throttle": lambda: throttle_words(nvml.nvmlDeviceGetCurrentClocksThrottleReasons(handle)),
        "ecc": lambda: "on" if nvml.nvmlDeviceGetEccMode(handle)[0] else "off",
        "memory_used_bytes": lambda: float(nvml.nvmlDeviceGetMemoryInfo(handle).used),
        "memory_used_by_others_bytes": lambda: _others(nvml, handle),
        "utilisation": lambda: nvml.nvmlDeviceGetUtilizationRates(handle).gpu / 100.0,
    }
    out: dict[str, Reading] = {}
    unread = []
    for name, read in readers.items():
        try:
            out[name] = read()
        except nvml.NVMLError as e:
            out[name] = None
            unread.append(f"{name}: {e}")
    if unread:
        out["unread"] = "; ".join(unread)
    return out


def _others(nvml: Any, handle: Any) -> float | None:
    """Memory of other processes in bytes; None where the driver hides it (in containers)."""
    used = [p.usedGpuMemory for p in nvml.nvmlDeviceGetComputeRunningProcesses(handle) if p.pid != os.getpid()]
    return None if None in used else float(sum(used))


def _text(value: Any) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def _cpu() -> dict[str, Reading]:
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return {"load_1m": os.getloadavg()[0] if hasattr(os, "getloadavg") else None, "cpu_mhz": _cpu_mhz(),
            "cores": None if cores is None else float(cores)}


def _cpu_mhz() -> float | None:
    """Clock of the first core, from the kernel's scaling driver or else from /proc."""
    try:
        return float(Path("/sys/devices/system/cpu/cpu0/cpufreq/scaling_cur_freq").read_text(encoding="utf-8")) / 1e3
    except (OSError, ValueError):
        pass
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        return next(float(line.split(":")[1]) for line in lines if line.startswith("cpu MHz"))
    except (OSError, ValueError, StopIteration):
        return None
