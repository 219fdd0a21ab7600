"""Precision in an engine's words: what start-up options make of a checkpoint, and what only another checkpoint can."""

from __future__ import annotations

from dataclasses import dataclass

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.model_spec import Attention, MlaAttention, ModelSpec
from costplan.core.dtypes import DTYPES, dtype
from costplan.core.errors import InputError, UnknownNameError
from costplan.perf.kv import SCALED_PER_HEAD, checkpoint_kv_dtype
from costplan.plan.emit_facts import EngineFacts
from costplan.plan.emit_pages import capability

_WORDS_16 = {"bf16": "bfloat16", "fp16": "float16"}
_FAMILIES = ({"fp8", "fp8_block"}, {"int4", "int4_g32"})
"""Formats that differ in their scales only: the checkpoint says which."""


@dataclass(frozen=True, slots=True)
class WeightChoice:
    """``dtype`` of activations and 16-bit weights (None: the checkpoint's), ``quantization`` at start-up (None: as
    stored). ``needs`` names the weight format that a checkpoint must already have (None: the model itself will do).
    """

    dtype: str | None = None
    quantization: str | None = None
    needs: str | None = None
    notes: tuple[str, ...] = ()


def weight_choice(facts: EngineFacts, wanted: str, spec: ModelSpec, gpu: GpuSpec, *, given: bool) -> WeightChoice:
    """How ``wanted`` weights come about. ``given``: the user named a checkpoint that already has them."""
    want, have = dtype(wanted, kind="weight format", where="weight_dtype"), dtype(spec.weight_dtype)
    word, notes = _activation_dtype(want.name, spec, gpu)
    if given:
        return WeightChoice(word if want.bits >= 16 else None, None, None, (
            f"the checkpoint must hold {want.name} weights: costplan does not look into it",))
    if want.name == have.name or any({want.name, have.name} <= family for family in _FAMILIES):
        return WeightChoice(word, None, None, notes)
    if have.bits < 16:
        return WeightChoice(word, None, want.name, notes)
    if want.bits >= 16:
        return WeightChoice(word, None, None, notes)
    option, least = facts.online_quantization.get(want.name, (None, 0.0))
    cap = capability(gpu)
    if option is None or cap is None or cap < least:
        return WeightChoice(word, None, want.name, notes)
    return WeightChoice(word, option, None, (
        *notes, f"{facts.title} quantises the 16-bit checkpoint to {want.name} at start-up, uncalibrated: "
        "check quality"))


def _activation_dtype(want: str, spec: ModelSpec, gpu: GpuSpec) -> tuple[str | None, tuple[str, ...]]:
    cap = capability(gpu)
    base = dtype(spec.base_dtype).name
    target = want if want in _WORDS_16 else base
    if target == "bf16" and cap is not None and cap < 8.0:
        return "float16", (f"{gpu.name} has no BF16: float16 instead",)
    return (_WORDS_16.get(target) if target != base else None), ()


def kv_word(facts: EngineFacts, wanted: str, weight_dtype: str, spec: ModelSpec, gpu: GpuSpec) -> str:
    """The engine's word for KV format ``wanted``; ``auto`` only where it means just that.

    Raises UnknownNameError or InputError.
    """
    if wanted in facts.kv_dtypes and wanted not in (*DTYPES, *SCALED_PER_HEAD, "auto"):
        canonical = _known_format(wanted)
        _check_hardware(facts, canonical, spec, gpu)
        return wanted
    try:
        canonical = checkpoint_kv_dtype(spec, weight_dtype, wanted)
    except UnknownNameError:
        raise UnknownNameError("KV dtype", wanted, facts.kv_dtypes, where="kv_dtype") from None
    _check_hardware(facts, canonical, spec, gpu)
    word = facts.kv_names.get(canonical)
    plain = canonical == dtype(spec.base_dtype).name == checkpoint_kv_dtype(spec, weight_dtype, None)
    if plain and (word is None or not _sparse(spec)):
        return "auto"
    if word is None:
        raise InputError(f"{facts.label} has no {canonical} KV cache for {spec.name}", where="kv_dtype",
                         hint=f"it knows {', '.join(facts.kv_dtypes[:8])}")
    return word


def _known_format(word: str) -> str:
    """costplan's name behind an engine's own word, as far as there is one."""
    if word.startswith("fp8"):
        return "fp8"
    return "nvfp4" if word.startswith(("nvfp4", "fp4")) else word


def _check_hardware(facts: EngineFacts, kv: str, spec: ModelSpec, gpu: GpuSpec) -> None:
    """Refuses a cache format that no kernel of this GPU reads."""
    cap = capability(gpu)
    if cap is None:
        return
    least = {"fp8": facts.fp8_kv_from_mla if _mla(spec) else facts.fp8_kv_from, "nvfp4": 10.0}.get(kv, 0.0)
    if cap < least:
        raise InputError(f"{facts.label} has no kernel for a {kv} KV cache of {spec.name} on {gpu.name} "
                         f"(compute capability {cap:g}, {least:g} needed)", where="kv_dtype",
                         hint="plan with a 16-bit KV cache or a newer GPU")


def _mla(spec: ModelSpec) -> bool:
    return any(isinstance(m, MlaAttention) for g in spec.layers for m in g.layer.mixers)


def _sparse(spec: ModelSpec) -> bool:
    """Models with an indexer: engines choose an FP8 cache for them where ``auto`` stands."""
    return any(isinstance(m, MlaAttention | Attention) and m.index is not None
               for g in spec.layers for m in g.layer.mixers)
