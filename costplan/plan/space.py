"""Which configurations are worth a look, and which are left out for a reason that can be said in words."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.model_spec import (
    Attention,
    DenseMlp,
    LinearMixer,
    Mixer,
    MlaAttention,
    Mlp,
    ModelSpec,
    MoeMlp,
)
from costplan.catalog.price import Price
from costplan.core.dtypes import dtype
from costplan.core.errors import DoesNotFitError, InputError, UnknownNameError
from costplan.core.units import GIB
from costplan.perf.drafter import drafter_of, room_beside
from costplan.perf.drafting import Drafting
from costplan.perf.kv_budget import EngineSettings, KvBudget, default_block_size, kv_budget
from costplan.perf.layout import Layout
from costplan.perf.predict import Deployment
from costplan.plan.config import EngineConfig
from costplan.plan.emit_facts import engine_facts
from costplan.plan.emit_pages import nearest_page, page_rule
from costplan.plan.types import Excluded
from costplan.profile.store import list_profiles
from costplan.workload.workload import Candidates, Constraints

ENGINES = ("vllm", "sglang", "trtllm")
TP = (1, 2, 4, 8)
PP = (1, 2, 4)
MAX_NUM_SEQS = (64, 256, 1024)
MAX_NUM_BATCHED_TOKENS = (2048, 8192)
CPU_WEIGHTS = ("int8", "int4")
"""Small weight formats that vLLM multiplies on CPUs (W8A8, AWQ, GPTQ)."""


@dataclass(frozen=True, slots=True)
class System:
    """What the kernels of a step depend on; the scheduler's limits come on top."""

    gpu: str
    engine: str
    layout: Layout
    weight_dtype: str
    kv_dtype: str
    drafting: Drafting | None = None

    @property
    def label(self) -> str:
        lay = self.layout
        sizes = " ".join(f"{k}{v}" for k, v in (("tp", lay.tp), ("pp", lay.pp), ("dp", lay.dp), ("ep", lay.ep))
                         if v > 1 or k == "tp")
        drafts = f" {self.drafting.label}" if self.drafting else ""
        return f"{self.gpu} {sizes} {self.weight_dtype} kv {self.kv_dtype} {self.engine}{drafts}"


@dataclass(frozen=True, slots=True)
class Candidate:
    """One configuration and the memory it leaves for KV."""

    system: System
    config: EngineConfig
    budget: KvBudget


@dataclass(slots=True)
class Leftovers:
    """Counts what was left out, by reason, with the first example of each."""

    counts: dict[str, tuple[int, str]] = field(default_factory=dict)

    def add(self, reason: str, example: str, count: int = 1) -> None:
        n, first = self.counts.get(reason, (0, example))
        self.counts[reason] = (n + count, first)

    def excluded(self) -> tuple[Excluded, ...]:
        """Largest group first."""
        found = (Excluded(r, n, e) for r, (n, e) in self.counts.items())
        return tuple(sorted(found, key=lambda x: (-x.count, x.reason)))


@dataclass(frozen=True, slots=True)
class Space:
    """All candidates by system, what was left out, and what was asked for."""

    by_system: dict[System, tuple[Candidate, ...]]
    excluded: tuple[Excluded, ...]

    def __len__(self) -> int:
        return sum(len(c) for c in self.by_system.values())


def space(spec: ModelSpec, choices: Candidates, limits: Constraints, prices: Sequence[Price], *, max_tokens: int,
          model: str, measured: frozenset[str] = frozenset(), draftings: Sequence[Drafting] = ()) -> Space:
    """Candidates for ``spec`` within the user's choices; what the user leaves free is filled in.

    ``measured`` are devices of the user's own profiles, beside those of the profiles in the search path; each system
    is also tried with each of ``draftings``.
    """
    out = Leftovers()
    found: dict[System, tuple[Candidate, ...]] = {}
    for gpu in _gpus(choices, prices, measured, out):
        for system in (replace(plain, drafting=d) for plain in systems(spec, gpu, choices, limits, out)
                       for d in (None, *draftings)):
            fitting = tuple(_candidates(spec, gpu, system, choices, max_tokens, model, out))
            if fitting:
                found[system] = fitting
    return Space(found, out.excluded())


def _gpus(choices: Candidates, prices: Sequence[Price], own: frozenset[str], out: Leftovers) -> list[GpuSpec]:
    """GPUs that the user named, else those that are both priced and measured."""
    priced = {p.gpu for p in prices}
    for name in sorted(own - priced - set(choices.gpus or ())):
        out.add("no price of a measured device; give --price NAME=USD", name)
    if choices.gpus is not None:
        named = dict.fromkeys(find_gpu(n, where="candidates.gpus").name for n in choices.gpus)
        for name in named:
            if name not in priced:
                out.add("no price within the constraints", name)
        return [find_gpu(n) for n in named if n in priced]
    measured = {p.manifest.gpu for p in list_profiles() if p.manifest} | own
    for name in sorted(priced - measured):
        out.add("no measured kernels; name it under candidates.gpus to include it", name)
    return [find_gpu(n) for n in sorted(priced & measured)]


def systems(spec: ModelSpec, gpu: GpuSpec, choices: Candidates, limits: Constraints,
            out: Leftovers) -> Iterator[System]:
    """Engine x layout x precision on one GPU."""
    for engine in choices.engines or ENGINES:
        if engine not in ENGINES:
            raise UnknownNameError("engine", engine, ENGINES)
        if gpu.is_cpu and engine != "vllm":
            out.add("on a CPU only vLLM is planned", gpu.name)
            continue
        if gpu.vendor != "NVIDIA" and engine == "trtllm":
            out.add("TensorRT-LLM runs on NVIDIA GPUs only", gpu.name)
            continue
        for layout in layouts(spec, gpu, choices, limits, out):
            for weight in weight_formats(spec, gpu, choices, out):
                for kv in kv_formats(spec, gpu, choices, out):
                    yield System(gpu.name, engine, layout, weight, kv)


def layouts(spec: ModelSpec, gpu: GpuSpec, choices: Candidates, limits: Constraints, out: Leftovers) -> list[Layout]:
    """Ways to spread one replica. PP is tried where GPUs lack a fast link or the user asks for it."""
    if gpu.is_cpu:
        if 1 in (choices.tp or (1,)) and 1 in (choices.pp or (1,)):
            return [Layout()]
        out.add("a CPU runs one rank", gpu.name)
        return []
    pps = choices.pp or (PP if gpu.link is None or "PCIe" in gpu.link else (1,))
    found: list[Layout] = []
    for tp in choices.tp or TP:
        if (reason := tp_problem(spec, gpu, tp)) is not None:
            out.add(reason, f"{gpu.name} tp{tp}")
            continue
        for pp in pps:
            if pp > spec.num_layers:
                out.add("more pipeline stages than layers", f"{gpu.name} pp{pp}")
                continue
            found.append(Layout(tp, pp))
            if spec.is_moe and tp > 1:
                found.append(Layout(tp, pp, 1, tp))
    if _wants_dp(spec) and choices.tp is None and choices.pp is None and gpu.gpus_per_node >= 8:
        found.append(Layout(1, 1, 8, 8))
    most = limits.max_gpus_per_replica or limits.max_gpus
    if most is not None:
        for lay in [x for x in found if x.num_gpus > most]:
            out.add(f"a replica may have at most {most} GPUs", f"{gpu.name} tp{lay.tp} pp{lay.pp}")
        found = [x for x in found if x.num_gpus <= most]
    return found


def _wants_dp(spec: ModelSpec) -> bool:
    """Attention data parallelism pays where every rank would hold the same latent KV."""
    return spec.is_moe and any(isinstance(m, MlaAttention) for g in spec.layers for m in g.layer.mixers)


def tp_problem(spec: ModelSpec, gpu: GpuSpec, tp: int) -> str | None:
    """Why ``tp`` cannot be, in words; None where it can."""
    if tp > gpu.gpus_per_node:
        return "tensor parallelism does not cross nodes"
    found = (p for group in spec.layers for part in (*group.layer.mixers, group.layer.mlp)
             if (p := _uneven(part, tp)) is not None)
    return next(found, None)


def _uneven(part: Mixer | Mlp | None, tp: int) -> str | None:
    """What of one mixer or MLP cannot be shared out evenly over ``tp`` ranks."""
    match part:
        case Attention() if max(part.num_kv_heads, tp) % min(part.num_kv_heads, tp):
            return "tp and the number of KV heads do not divide each other"
        case Attention() | MlaAttention() if part.num_heads % tp:
            return "tp does not divide the attention heads"
        case LinearMixer() if part.num_v_heads and part.num_v_heads % tp:
            return "tp does not divide the heads of the linear layers"
        case DenseMlp() if part.intermediate_size % tp:
            return "tp does not divide the MLP"
        case MoeMlp() if part.num_experts % tp:
            return "tp does not divide the experts"
        case _:
            return None


def weight_formats(spec: ModelSpec, gpu: GpuSpec, choices: Candidates, out: Leftovers) -> list[str]:
    """Formats of the user's list that the device can run; without a list the checkpoint's, 8 bits and 4 bits."""
    own = spec.weight_dtype
    quantised = dtype(own).bits < 16
    if choices.weights is not None:
        wanted = [own if w == "auto" else dtype(w).name for w in choices.weights]
    elif quantised or gpu.is_cpu:
        wanted = [own]
    else:
        wanted = [own, "fp8" if gpu.peak("fp8") else "int8", "nvfp4" if gpu.peak("fp4") else "int4"]
    found = []
    for name in dict.fromkeys(wanted):
        problem = weight_problem(spec, gpu, name)
        if problem:
            out.add(problem, f"{gpu.name} {name}")
        else:
            found.append(name)
    return found


def weight_problem(spec: ModelSpec, gpu: GpuSpec, name: str) -> str | None:
    """Why weights cannot be stored as ``name``; None where they can."""
    if name == spec.weight_dtype:
        return None
    if dtype(spec.weight_dtype).bits < 16:
        return "the checkpoint is quantised already"
    if dtype(name).bits >= 16:
        return None
    if gpu.is_cpu and name not in CPU_WEIGHTS:
        return "no CPU kernel multiplies weights of this format"
    if gpu.vendor == "NVIDIA" and _capability(gpu) < 8.0:
        return "the engines unpack small weights from compute capability 8.0 on"
    fp4 = name in ("nvfp4", "mxfp4") and gpu.peak("fp4") is None and gpu.vendor != "NVIDIA"
    return "no unit multiplies FP4 and no kernel unpacks it" if fp4 else None


def kv_formats(spec: ModelSpec, gpu: GpuSpec, choices: Candidates, out: Leftovers) -> list[str]:
    """KV formats of the user's list; without one the checkpoint's, and FP8 where the device multiplies it."""
    own = spec.kv_dtype or ("fp16" if spec.base_dtype == "fp16" else "bf16")
    if choices.kv_cache_dtype is not None:
        wanted = [own if k == "auto" else dtype(k).name for k in choices.kv_cache_dtype]
    else:
        wanted = [own, "fp8"] if gpu.peak("fp8") else [own]
    found = []
    for name in dict.fromkeys(wanted):
        if name not in (own, "bf16", "fp16", "fp8", "nvfp4"):
            out.add("no engine stores KV in this format", f"{gpu.name} kv {name}")
        elif gpu.is_cpu and name not in (own, "bf16", "fp16"):
            out.add("vLLM keeps the KV cache of a CPU in 16 bits", f"{gpu.name} kv {name}")
        elif name == "nvfp4" and gpu.peak("fp4") is None:
            out.add("KV in NVFP4 needs a GPU with FP4 units", f"{gpu.name} kv {name}")
        else:
            found.append(name)
    return found


def _capability(gpu: GpuSpec) -> float:
    try:
        return float(gpu.compute_capability)
    except ValueError:
        return 0.0


def _candidates(spec: ModelSpec, gpu: GpuSpec, system: System, choices: Candidates, max_tokens: int, model: str,
                out: Leftovers) -> Iterator[Candidate]:
    """Scheduler limits and page sizes of one system, as far as they fit in memory."""
    sizes = _block_sizes(spec, gpu, system.engine, choices, out)
    combos = [(b, s, t) for b in sizes for s in choices.max_num_seqs or MAX_NUM_SEQS
              for t in choices.max_num_batched_tokens or MAX_NUM_BATCHED_TOKENS]
    for block, seqs, tokens in combos:
        if tokens < seqs:
            out.add("max_num_batched_tokens below max_num_seqs", f"{tokens} < {seqs}")
            continue
        try:
            yield candidate(spec, gpu, system, block, seqs, tokens, max_tokens=max_tokens, model=model)
        except DoesNotFitError:
            out.add("does not fit in memory", f"{system.label} ({gpu.mem_bytes / GIB:.0f} GiB per GPU)")
        except InputError as e:
            out.add(e.message, system.label)


def deployment_of(spec: ModelSpec, system: System) -> Deployment:
    """``system`` as the models of step times know it."""
    return Deployment(spec, find_gpu(system.gpu), system.layout, engine=system.engine,
                      weight_dtype=system.weight_dtype, kv_dtype=system.kv_dtype)


def default_page(engine: str, spec: ModelSpec, gpu: GpuSpec) -> int:
    """KV page size in tokens that ``engine`` uses where nobody asks for another."""
    return nearest_page(engine, default_block_size(engine, gpu), spec, gpu)


def _block_sizes(spec: ModelSpec, gpu: GpuSpec, engine: str, choices: Candidates, out: Leftovers) -> tuple[int, ...]:
    """The engine's default page, or those of the user's list that its attention backend takes."""
    if choices.block_size is None:
        return (default_page(engine, spec, gpu),)
    rule = page_rule(engine, spec, gpu)
    for b in choices.block_size:
        if not rule.allows(b):
            out.add(f"{engine_facts(engine).label} needs pages of {rule.wording} tokens here",
                    f"{gpu.name} block_size {b}")
    return tuple(b for b in choices.block_size if rule.allows(b))


def candidate(spec: ModelSpec, gpu: GpuSpec, system: System, block_size: int, max_num_seqs: int,
              max_num_batched_tokens: int, *, max_tokens: int, model: str,
              memory_fraction: float | None = None) -> Candidate:
    """One configuration with its KV budget. Raises DoesNotFitError where not one request fits."""
    lay = system.layout
    longest = min(-(-max_tokens // 1024) * 1024, spec.max_position or max_tokens)
    budget = kv_budget(spec, gpu, EngineSettings(
        engine=system.engine, tp=lay.tp, pp=lay.pp, ep=lay.tp * lay.dp, weight_dtype=system.weight_dtype,
        kv_dtype=system.kv_dtype, memory_fraction=memory_fraction, max_model_len=longest,
        max_num_batched_tokens=max_num_batched_tokens, max_num_seqs=max_num_seqs, block_size=block_size))
    if system.drafting is not None:
        budget = room_beside(budget, drafter_of(deployment_of(spec, system), system.drafting.draft))
    if budget.concurrency(max_tokens) < 1:
        raise DoesNotFitError(f"one request of {max_tokens} tokens does not fit into the KV cache")
    config = EngineConfig(
        model=model, gpu=gpu.name, engine=system.engine, layout=lay, weight_dtype=system.weight_dtype,
        kv_dtype=system.kv_dtype, block_size=block_size, max_num_seqs=budget.limits.max_num_seqs,
        max_num_batched_tokens=max_num_batched_tokens, max_model_len=longest,
        memory_fraction=budget.memory_fraction, speculative=system.drafting)
    return Candidate(system, config, budget)
