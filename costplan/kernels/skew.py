"""Versions that do not fit each other, and machine states that spoil timings: what is wrong and what to do."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from costplan.kernels.nvml import throttled

_CROWDED_BYTES = 1 << 30


@dataclass(frozen=True, slots=True)
class Advice:
    """``grave`` where nothing can be measured until it is done."""

    what: str
    do: str
    grave: bool = False


def advise(environment: Mapping[str, Any], reasons: Mapping[str, str]) -> list[Advice]:
    """Advice on an environment as environment.py gathers it; ``reasons`` say of backends why they do not run."""
    return [*_torch(environment), *_driver(environment), *_pins(environment), *_abi(environment, reasons),
            *_compiler(environment, reasons), *_state(environment)]


def _torch(env: Mapping[str, Any]) -> Iterator[Advice]:
    torch = env.get("torch") or {}
    if error := torch.get("error"):
        if "not installed" in error or error.startswith("ModuleNotFoundError"):
            yield Advice("torch is not installed: no kernel can be measured, everything else works",
                         "pip install torch (the CPU build is enough to measure a CPU)", grave=True)
        else:
            yield Advice(f"torch cannot be imported: {error}", "reinstall torch for this Python and system", grave=True)
    elif torch.get("cuda") is None and env.get("driver_loaded"):
        yield Advice(f"an NVIDIA driver is loaded, but torch {torch.get('version')} is built without CUDA",
                     "install a CUDA build of torch to measure the GPU")
    elif torch.get("cuda_error"):
        yield Advice(f"CUDA does not start: {torch['cuda_error']}", "check that the container was given the GPU")


def _driver(env: Mapping[str, Any]) -> Iterator[Advice]:
    """CUDA runs on a driver of its own major version or a later one; a lower minor costs compiling at run time."""
    runtime, driver = _version((env.get("torch") or {}).get("cuda")), _version(env.get("driver_cuda"))
    if not runtime or not driver:
        return
    if driver[0] < runtime[0]:
        yield Advice(f"the driver runs CUDA {env['driver_cuda']} at most, torch needs {env['torch']['cuda']}",
                     "update the driver, or install torch for an older CUDA", grave=True)
    elif driver < runtime:
        yield Advice(f"the driver is of CUDA {env['driver_cuda']}, torch of {env['torch']['cuda']}: kernels that are "
                     "compiled at run time (PTX) may not load", "update the driver")


def _pins(env: Mapping[str, Any]) -> Iterator[Advice]:
    for pin in env.get("pins", ()):
        if _release(pin["wanted"]) != _release(pin["found"]):
            yield Advice(f"{pin['by']} asks for {pin['of']} {pin['wanted']}, {pin['found']} is installed",
                         f"pip install '{pin['of']}=={pin['wanted']}', or another version of {pin['by']}")


def _abi(env: Mapping[str, Any], reasons: Mapping[str, str]) -> Iterator[Advice]:
    torch = (env.get("torch") or {}).get("version")
    for name, reason in reasons.items():
        if "undefined symbol" in reason:
            yield Advice(f"{name} was built for another torch than {torch}",
                         "install a build for this torch, or rebuild it against it")
        elif re.search(r"cannot open shared object file|\.so\.\d+: ", reason):
            yield Advice(f"{name} misses a shared library ({reason})",
                         "install the CUDA runtime that it was built for, or another build")


def _compiler(env: Mapping[str, Any], reasons: Mapping[str, str]) -> Iterator[Advice]:
    needs = [n for n, r in reasons.items() if n.startswith(("flashinfer", "deepgemm")) and not r]
    runtime, compiler = _version((env.get("torch") or {}).get("cuda")), _version(env.get("nvcc"))
    if needs and compiler is None:
        yield Advice(f"no nvcc: {needs[0].split('-')[0]} can run only what was compiled beforehand",
                     "install the CUDA toolkit, or set CUDA_HOME")
    elif needs and runtime and compiler and compiler[0] != runtime[0]:
        yield Advice(f"nvcc is of CUDA {env['nvcc']}, torch of {env['torch']['cuda']}",
                     "set CUDA_HOME to a toolkit of torch's CUDA")


def _state(env: Mapping[str, Any]) -> Iterator[Advice]:
    """States of the GPU that make timings unrepresentative. They are reported, never changed."""
    state = env.get("telemetry") or {}
    if throttled(state.get("throttle")):
        yield Advice(f"the GPU's clocks are held down: {state['throttle']}", "cool it, or check its power supply")
    if (state.get("memory_used_by_others_bytes") or 0) > _CROWDED_BYTES:
        gib = state["memory_used_by_others_bytes"] / 2**30
        yield Advice(f"other processes hold {gib:.1f} GiB of GPU memory", "end them before measuring")
    if (env.get("torch") or {}).get("gpus") and env.get("driver_unread"):
        yield Advice(f"clocks and power cannot be recorded: {env['driver_unread']}", "pip install nvidia-ml-py")


def _version(text: object) -> tuple[int, ...] | None:
    found = re.match(r"(\d+)\.(\d+)", str(text or ""))
    return (int(found[1]), int(found[2])) if found else None


def _release(text: str) -> str:
    """A version without its local part: 2.11.0+cu130 is 2.11.0."""
    return text.partition("+")[0]
