"""From a deployment to its latency model: which profiles answer, which GPU stands in, which overhead applies."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.gpus import gpu_key
from costplan.catalog.model_spec import LinearMixer, ModelSpec
from costplan.core.errors import InputError
from costplan.perf.book import KernelBook
from costplan.perf.devices import add_device_of
from costplan.perf.engine_kernels import kernel_prefixes
from costplan.perf.kernel_source import OWN
from costplan.perf.kv_budget import default_block_size
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.layout import Layout
from costplan.perf.ops import StepBuilder
from costplan.perf.overhead import CPU, Traits, overhead
from costplan.profile.store import Profile, find_profile, list_profiles, search_path

ENGINES = ("vllm", "sglang", "trtllm")
_ARCHS = ((12.0, "blackwell_rtx"), (10.0, "blackwell"), (9.0, "hopper"), (8.6, "ada"), (8.0, "ampere"), (0.0, "volta"))
"""Families of NVIDIA GPUs by compute capability, as far as engines treat them alike (8.6 is consumer Ampere)."""
FP8_SINCE = 8.9
_ALIASES = {"nim": "trtllm", "tensorrt-llm": "trtllm", "lmdeploy": "vllm", "other": "vllm"}


def kernel_engine(engine: str) -> str:
    """The engine whose kernels stand for ``engine``: NIM runs TensorRT-LLM, forks run those of vLLM."""
    return _ALIASES.get(engine, engine)


@dataclass(frozen=True, slots=True)
class Sources:
    """Profiles that answer for a GPU, best first, and the GPU that they were measured on (None: no profile)."""

    profiles: tuple[Profile, ...]
    measured_on: GpuSpec | None


def sources_for(gpu: GpuSpec, engine: str, profile: Profile | None = None) -> Sources:
    """The user's ``profile``, else the shipped ones of this GPU, else those of the most similar GPU.

    On one GPU the engine's own tables lead, then those of other engines, then what `costplan profile` measured.
    """
    order = [kernel_engine(engine), *(e for e in ENGINES if e != kernel_engine(engine)), OWN]
    if profile is not None:
        add_device_of(profile)
        others = [p for e in order if (p := find_profile(profile.gpu, e)) and p.name != profile.name]
        return Sources((profile, *others), find_gpu(profile.gpu))
    own = [p for e in order if (p := find_profile(gpu.name, e))]
    if own:
        return Sources(tuple(own), gpu)
    names = sorted({p.manifest.gpu for p in list_profiles() if p.manifest})
    known = [find_gpu(n) for n in names if gpu_key(n) is not None]
    donor = most_similar(gpu, [g for g in known if g.is_cpu == gpu.is_cpu])
    if donor is None:
        return Sources((), None)
    return Sources(tuple(p for e in order if (p := find_profile(donor.name, e))), donor)


def most_similar(gpu: GpuSpec, measured: Sequence[GpuSpec]) -> GpuSpec | None:
    """The measured GPU whose kernels should behave most alike: same architecture, then the nearest ratio of
    compute to bandwidth, then the nearest bandwidth."""
    def distance(other: GpuSpec) -> float:
        ridge = _log_ratio(gpu.peak("bf16") or gpu.peak("fp16"), other.peak("bf16") or other.peak("fp16"))
        speed = _log_ratio(gpu.mem_bandwidth_bytes_per_s, other.mem_bandwidth_bytes_per_s)
        return 4.0 * (gpu.arch != other.arch) + 8.0 * (gpu.vendor != other.vendor) + abs(ridge - speed) + abs(speed)
    return min(measured, key=distance, default=None)


def _log_ratio(a: float | None, b: float | None) -> float:
    return math.log(a / b) if a and b else 1.0


def traits_of(spec: ModelSpec, gpu: GpuSpec, weight_dtype: str, weight_only: bool) -> Traits:
    """What of a deployment decides the engine's factors."""
    if gpu.is_cpu or gpu.vendor != "NVIDIA":
        capability, arch = 0.0, CPU if gpu.is_cpu else gpu.vendor
    else:
        capability = float(gpu.compute_capability)
        arch = next(name for since, name in _ARCHS if capability >= since)
    weights = "16" if weight_dtype in ("bf16", "fp16") else weight_dtype
    if weight_only or weights in ("int4", "int8") or (weights == "fp8" and capability < FP8_SINCE):
        weights = "weight_only"
    hybrid = any(isinstance(m, LinearMixer) for g in spec.layers for m in g.layer.mixers)
    return Traits(gpu.name, spec.name, arch, weights, spec.is_moe, hybrid)


_MODELS: dict[tuple[object, ...], KernelLatencyModel] = {}
_BOOKS: dict[tuple[object, ...], KernelBook] = {}


def _gpu_key(gpu: GpuSpec) -> tuple[object, ...]:
    """What of a GPU decides kernel times: a user may change a shipped one."""
    return (gpu.name, tuple(sorted(gpu.peak_flops.items())), gpu.mem_bandwidth_bytes_per_s, gpu.link,
            gpu.link_bytes_per_s, gpu.pcie_bytes_per_s)


def _book(found: Sources, gpu: GpuSpec, engine: str) -> KernelBook:
    """Kernels are built once per GPU and set of profiles: a search asks for the same shapes again and again."""
    key = (_gpu_key(gpu), tuple(str(p.folder) for p in found.profiles), engine)
    if key not in _BOOKS:
        _BOOKS[key] = KernelBook(found.profiles, found.measured_on, gpu, static_quant=engine == "trtllm",
                                 prefixes=kernel_prefixes(engine, gpu))
    return _BOOKS[key]


def kernel_page(found: Sources, gpu: GpuSpec, engine: str, block_size: int | None = None) -> int:
    """KV page size that kernel times depend on: ``block_size``, or the engine's default; 0 where no profile
    records pages (imported tables do not)."""
    if all(p.engine != OWN for p in found.profiles):
        return 0
    return block_size or default_block_size(kernel_engine(engine), gpu)


def latency_model(spec: ModelSpec, gpu: GpuSpec, layout: Layout, *, engine: str, engine_version: str | None = None,
                  weight_dtype: str | None = None, kv_dtype: str = "bf16", weight_only: bool = False,
                  profile: Profile | None = None, block_size: int | None = None) -> KernelLatencyModel:
    """Step times of ``spec`` on ``gpu`` from the best profiles at hand. The last few models are kept.

    ``block_size`` is the KV page size (None: the engine's default). Raises InputError for a layout over several
    devices where the device is a CPU.
    """
    if gpu.is_cpu and layout.num_gpus > 1:
        raise InputError(f"{gpu.name} is a CPU: one engine runs on one device", where="layout",
                         hint="leave out --tp, --pp and --dp, or use replicas")
    key = (spec, _gpu_key(gpu), layout, engine, engine_version, weight_dtype, kv_dtype, weight_only, block_size,
           str(profile.folder) if profile else None, search_path())
    if key in _MODELS:
        return _MODELS[key]
    found = sources_for(gpu, engine, profile)
    page = kernel_page(found, gpu, engine, block_size)
    book = _book(found, gpu, kernel_engine(engine))
    kv = "bf16" if kv_dtype in ("fp16", "fp32", "bf16") else "fp8" if kv_dtype.startswith(("fp8", "int8")) else kv_dtype
    ops = StepBuilder(book, spec, layout, weight_dtype or spec.weight_dtype, kv, weight_only, page).build()
    extra = overhead(engine, engine_version, launches=sum(op.count for op in ops),
                     traits=traits_of(spec, gpu, weight_dtype or spec.weight_dtype, weight_only))
    model = KernelLatencyModel(ops, extra, layout.pp,
                               measured_on=found.measured_on.name if found.measured_on else "",
                               profiles=tuple(p.name for p in found.profiles))
    if len(_MODELS) >= 64:
        _MODELS.pop(next(iter(_MODELS)))
    _MODELS[key] = model
    return model
