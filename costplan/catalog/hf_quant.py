"""The precision of a checkpoint: its base dtype, ``quantization_config``, or the sidecar ``hf_quant_config.json``."""

from __future__ import annotations

import re
from dataclasses import dataclass

from costplan.catalog.hf_fields import Fields

_BASE = {"float16": "fp16", "bfloat16": "bf16", "half": "fp16", "auto": "bf16"}
_ALGO = {
    "FP8": "fp8", "FP8_PER_CHANNEL_PER_TOKEN": "fp8", "FP8_PB_WO": "fp8_block", "FP8_PB_REAL": "fp8_block",
    "FP8_BLOCK_SCALES": "fp8_block", "W8A8_SQ_PER_CHANNEL": "int8", "INT8": "int8", "W8A16": "int8",
    "NVFP4": "nvfp4", "W4A16_NVFP4": "nvfp4", "NVFP4_AWQ": "nvfp4", "W4A8_NVFP4_FP8": "nvfp4", "MXFP4": "mxfp4",
    "W4A16_MXFP4": "mxfp4", "W4A8_MXFP4_FP8": "mxfp4", "MXFP8": "mxfp8",
    "W4A16": "int4", "W4A16_AWQ": "int4", "W4A8_AWQ": "int4", "W4A16_GPTQ": "int4", "INT4_AWQ": "int4",
}
_ALWAYS = frozenset({"lm_head", "router"})
_MXFP4_DEFAULT = frozenset({"attention", "lm_head", "router"})

# names of modules (or globs and regexes of them) -> part; the first match counts
_PARTS: tuple[tuple[str, re.Pattern[str]], ...] = (
    ("", re.compile(r"norm|conv1d|indexer|in_proj_[ab]\b|\bA_log|dt_bias|e_score|embed|rotary|vision|visual|audio|"
                    r"multi_modal|mm_proj|mtp|eh_proj|mapping_proj|hyper|\bhc_|bias$|sinks?$|shared_head|engram")),
    ("lm_head", re.compile(r"lm_head|^head$|output_layer")),
    ("shared_expert", re.compile(r"shared_?experts?(?!.*gate$)|share_expert")),
    ("router", re.compile(r"(^|\.|\*)(gate|router)(\.weight|\.wg|\*)?$|shared_expert_gate|router")),
    ("linear", re.compile(r"linear_attn|mamba|in_proj|out_proj(?!.*attn)|\bkda\b")),
    ("experts", re.compile(r"experts|switch_mlp|block_sparse_moe")),
    ("attention", re.compile(r"attn|attention|[qkvo]_proj|q_[ab]_proj|kv_[ab]_proj|qkv")),
    ("mlp", re.compile(r"mlp|feed_forward|ffn|(gate|up|down|gate_up)_proj|fc[12]")),
)
_LAYER = re.compile(r"layers\.(\d+)\.")


@dataclass(frozen=True, slots=True)
class Precision:
    """Dtypes of a checkpoint, in the words of `ModelSpec`."""

    base: str
    weight: str
    kv: str | None = None
    unquantized: frozenset[str] = _ALWAYS
    parts: tuple[tuple[str, str], ...] = ()
    notes: tuple[str, ...] = ()


def precision(text: Fields, outer: Fields, sidecar: Fields | None, num_layers: int) -> Precision:
    """The precision that the files state; without any statement bf16, with a note."""
    base, notes = _base_dtype(text, outer)
    quant = outer.sub("quantization_config") or text.sub("quantization_config") or outer.sub("compression_config")
    inner = sidecar.sub("quantization") if sidecar is not None else None
    source = inner or (quant if quant is not None and quant.data else None)
    if source is None:
        return Precision(base, base, notes=notes)
    if source.has("quant_algo"):
        got = _modelopt(source, quant, base, num_layers)
    else:
        got = _by_method(source, base, num_layers)
    expert = text.text("expert_dtype") or (quant.text("expert_dtype") if quant is not None else "")
    own = dict(got.parts)
    if expert == "fp4" and "experts" not in own:  # DeepSeek-V4: FP4 with one power-of-two scale per 32
        own["experts"] = "mxfp4"
    return Precision(base, got.weight, got.kv, got.unquantized, tuple(sorted(own.items())), notes + got.notes)


def _base_dtype(text: Fields, outer: Fields) -> tuple[str, tuple[str, ...]]:
    for fields in (text, outer):
        name = fields.text("torch_dtype", "dtype").removeprefix("torch.")
        if name in {"float32", "float"}:
            return "bf16", ("stored in fp32; engines load it in 16 bits, counted as bf16",)
        if name in _BASE:
            return _BASE[name], ()
        if name:
            raise fields.fail("torch_dtype", f"is {name!r}", f"known: {', '.join(_BASE)}")
    return "bf16", ("dtype is not stated in the file: bf16 assumed",)


def _modelopt(q: Fields, outer: Fields | None, base: str, num_layers: int) -> Precision:
    """ModelOpt: one algorithm, or per-layer ones under MIXED_PRECISION."""
    algo = q.text("quant_algo").upper()
    excluded = _names(q, "exclude_modules", "ignore")
    kv = _kv_algo(q)
    if algo == "MIXED_PRECISION":
        return _mixed(q, outer or q, base, kv)
    if algo not in _ALGO:
        raise q.fail("quant_algo", f"is {algo!r}, which costplan does not know",
                     "drop the quantization block and give the weight dtype yourself")
    return Precision(base, _ALGO[algo], kv, _ALWAYS | _parts_of(excluded, num_layers))


def _kv_algo(q: Fields) -> str | None:
    name = q.text("kv_cache_quant_algo").upper()
    if name:
        return {"FP8": "fp8", "NVFP4": "nvfp4", "INT8": "int8"}.get(name)
    return _kv_scheme(q)


def _kv_scheme(q: Fields) -> str | None:
    got = q.find("kv_cache_scheme")
    if got is None:
        return None
    if isinstance(got[1], str):
        return "fp8" if got[1].upper() == "FP8" else None
    scheme = q.sub("kv_cache_scheme")
    if scheme is None or scheme.integer_or(16, "num_bits") != 8:
        return None
    return "fp8" if scheme.text("type") == "float" else "int8"


def _mixed(q: Fields, outer: Fields, base: str, kv: str | None) -> Precision:
    """Per-layer algorithms: each part takes the one that most of its modules have."""
    layers = q.sub("quantized_layers")
    if layers is None:
        raise q.missing("quantized_layers")
    votes: dict[str, dict[str, int]] = {}
    for name, entry in layers.data.items():
        part = part_of(str(name))
        algo = entry.get("quant_algo") if isinstance(entry, dict) else None
        if part and isinstance(algo, str) and algo.upper() in _ALGO:
            tally = votes.setdefault(part, {})
            tally[_ALGO[algo.upper()]] = tally.get(_ALGO[algo.upper()], 0) + 1
    method = outer.text("quant_method")
    rest = "fp8_block" if method == "fp8" and not votes.keys() >= {"attention"} else base
    parts = {part: max(tally, key=lambda d: tally[d]) for part, tally in votes.items()}
    if not parts:
        raise q.fail("quantized_layers", "names no layer in a known format", "check the config file")
    main = parts.get("experts") or parts.get("mlp") or next(iter(parts.values()))
    kept = frozenset({"attention", "mlp", "linear", "shared_expert", *_ALWAYS} - parts.keys())
    if rest != base:  # a block-FP8 checkpoint whose experts were quantised once more
        return Precision(base, rest, kv, _ALWAYS, tuple(sorted(parts.items())))
    return Precision(base, main, kv, kept, tuple(sorted(parts.items())),
                     ("mixed precision: each part counted in the format of most of its modules",))


def _by_method(q: Fields, base: str, num_layers: int) -> Precision:
    """Transformers-style ``quant_method``."""
    method = q.text("quant_method")
    kept = _ALWAYS | _parts_of(_names(q, "modules_to_not_convert", "ignore", "ignored_layers"), num_layers)
    if method == "fp8":
        return Precision(base, "fp8_block" if q.array("weight_block_size") else "fp8", None, kept)
    if method in {"fbgemm_fp8", "fp8_dynamic"}:
        return Precision(base, "fp8", None, kept)
    if method == "mxfp4":
        return Precision(base, "mxfp4", None, kept | _MXFP4_DEFAULT)
    if method in {"compressed-tensors", "modelopt"}:
        return _groups(q, base, kept)
    if method in {"awq", "gptq", "auto-round", "autoround", "intel/auto-round"}:
        bits = q.integer("bits", "w_bit", high=16)
        if bits not in (4, 8):
            raise q.fail("bits", f"is {bits}", "costplan knows 4 and 8 bit weights")
        return Precision(base, "int4" if bits == 4 else "int8", None, kept)
    if method == "bitsandbytes":
        return Precision(base, "int4" if q.flag("load_in_4bit", default=False) else "int8", None, kept)
    raise q.fail("quant_method", f"is {method!r}, which costplan does not know",
                 "drop the quantization block and give the weight dtype yourself")


def _groups(q: Fields, base: str, kept: frozenset[str]) -> Precision:
    """compressed-tensors: the format of the first group's weights; further groups by what they target."""
    groups = q.sub("config_groups")
    if groups is None:
        raise q.missing("config_groups")
    main = None
    parts: dict[str, str] = {}
    for name in groups.data:
        group = groups.sub(name)
        weights = group.sub("weights") if group is not None else None
        if group is None or weights is None:
            continue
        fmt = _weight_format(weights)
        main = main or fmt
        for target in group.array("targets") or []:
            part = part_of(str(target))
            if part and len(groups.data) > 1:
                parts[part] = fmt
    if main is None:
        raise q.fail("config_groups", "describes no weights", "check the config file")
    return Precision(base, main, _kv_scheme(q), frozenset(kept - parts.keys()), tuple(sorted(parts.items())))


def _weight_format(w: Fields) -> str:
    bits, kind = w.integer("num_bits", high=32), w.text("type", default="int")
    group = w.integer_or(None, "group_size", low=-1)
    if kind == "float" and bits == 8:
        return "fp8_block" if w.text("strategy") == "block" else ("mxfp8" if group == 32 else "fp8")
    if kind == "float" and bits == 4:
        return "mxfp4" if group == 32 else "nvfp4"
    if kind == "int" and bits in (4, 8):
        return "int4_g32" if bits == 4 and group == 32 else f"int{bits}"
    raise w.fail("num_bits", f"is {bits} of type {kind}", "costplan knows int4, int8, fp8, nvfp4 and mxfp4 weights")


def _names(q: Fields, *keys: str) -> list[str]:
    for key in keys:
        names = q.array(key)
        if names:
            return [str(name) for name in names]
    return []


def part_of(module: str) -> str | None:
    """The part (as in `ModelSpec.unquantized`) that a module name, glob or regex stands for; None for small ones."""
    name = module.removeprefix("re:").replace("\\", "").rstrip("$")
    for part, pattern in _PARTS:
        if pattern.search(name):
            return part or None
    return None


def _parts_of(names: list[str], num_layers: int) -> frozenset[str]:
    """Parts that a skip list covers: named without a layer number, or for at least half the layers."""
    layers: dict[str, set[int]] = {}
    whole: set[str] = set()
    for name in names:
        part = part_of(name)
        if part is None:
            continue
        found = _LAYER.search(name)
        if found:
            layers.setdefault(part, set()).add(int(found.group(1)))
        else:
            whole.add(part)
    return frozenset(whole | {part for part, seen in layers.items() if 2 * len(seen) >= num_layers or (
        part == "attention" and 8 * len(seen) >= num_layers)})
