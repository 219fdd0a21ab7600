"""The door for models: a local Hugging Face ``config.json`` (file or folder, never the network) -> ModelSpec."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from costplan.catalog.hf_families import FAMILIES, REFUSED, Family, family_of
from costplan.catalog.hf_fields import Fields
from costplan.catalog.hf_layers import layer_groups, norm_width
from costplan.catalog.hf_quant import precision
from costplan.catalog.hf_vision import vision_params
from costplan.catalog.model_spec import Attention, LayerGroup, ModelSpec, MoeMlp
from costplan.catalog.params import layer_params
from costplan.core.errors import InputError

MAX_BYTES = 16 * 1024 * 1024
_NESTED = ("text_config", "llm_config", "language_config", "thinker_config")
_FOREIGN = ("mamba", "ssm", "rwkv", "recurrent", "conv_L", "hyena", "hybrid", "block_configs")


def read_model(path: Path | str) -> ModelSpec:
    """The model of a config file, or of a folder that holds one; the sidecar ``hf_quant_config.json`` counts too.

    Raises InputError with file, key and hint.
    """
    file = _locate(Path(path))
    config = read_json(file)
    side = _sidecar(file)
    name = file.parent.name if file.name == "config.json" else file.name.removesuffix(".json").removesuffix("_config")
    name = str(config.get("_name_or_path") or "") or name
    origin = name if "/" in name and not Path(name).is_absolute() else Path(name).name.replace("--", "/")
    return parse_config(config, name=origin or file.stem, where=str(file),
                        sidecar=None if side is None else Fields(read_json(side), str(side)),
                        source=f"config file {file.name}")


def parse_config(config: Mapping[str, Any], *, name: str, where: str, sidecar: Fields | None = None,
                 source: str = "") -> ModelSpec:
    """The model that a parsed config describes. Raises InputError naming ``where`` and the key."""
    outer = Fields(config, where)
    text = _text_part(outer)
    model_type = text.text("model_type") or outer.text("model_type")
    _refuse(outer, text, model_type)
    family, notes = _family(text, model_type)
    if text.data is not config and not text.has("model_type"):
        text = Fields({"model_type": model_type, **text.data}, where, text.prefix)
    hidden, num_layers = text.hidden_size, _depth(text)
    groups = layer_groups(text, family)
    found = precision(text, outer, sidecar, num_layers)
    vocab = text.integer_or(None, "vocab_size", "padded_vocab_size") or outer.integer("vocab_size")
    extra = vision_params(outer, hidden)
    if extra:
        notes += ("vision tower counted from its config, within a few percent",)
    ple = text.integer_or(0, "hidden_size_per_layer_input", low=0)
    limit = text.integer_or(None, "max_position_embeddings", "n_positions", "max_sequence_length", "max_seq_len",
                            "seq_length", "model_max_length", high=1 << 40)
    positions = 0 if family.position_offset is None or limit is None else limit + family.position_offset
    return ModelSpec(
        name=name, model_type=model_type or "unknown", hidden_size=hidden, vocab_size=vocab, layers=groups,
        tie_embeddings=_tied(text, outer, family), base_dtype=found.base, weight_dtype=found.weight,
        kv_dtype=found.kv, unquantized=found.unquantized, part_dtypes=found.parts, max_position=limit,
        extra_params=extra, mtp_params=_mtp(text, groups, hidden), learned_positions=positions,
        ple_params=text.integer_or(vocab, "vocab_size_per_layer_input") * num_layers * ple if ple else 0,
        other_params=_other(text, family, hidden, num_layers, vocab, ple), notes=notes + found.notes, source=source)


def read_json(file: Path) -> Mapping[str, Any]:
    """A JSON object from ``file``: at most 16 MB, UTF-8, no duplicate keys."""
    try:
        size = file.stat().st_size
        if size > MAX_BYTES:
            raise InputError(f"{size} bytes are too many for a model config", where=str(file),
                             hint="give the config.json of the model, not its weights")
        raw = file.read_bytes()
    except OSError as e:
        raise InputError(f"cannot read the file: {e.strerror}", where=str(file),
                         hint="give a config.json or its folder") from e
    try:
        value = json.loads(raw.decode("utf-8-sig"), object_pairs_hook=_no_duplicates)
    except UnicodeDecodeError as e:
        raise InputError(f"not UTF-8 text (byte {e.start})", where=str(file),
                         hint="give the config.json of the model") from e
    except json.JSONDecodeError as e:
        raise InputError(f"not JSON: {e.msg}", where=f"{file}:{e.lineno}",
                         hint="give the config.json of the model; a YAML or a partial download will not do") from e
    except RecursionError as e:
        raise InputError("nested too deeply", where=str(file), hint="give the config.json of the model") from e
    except ValueError as e:
        raise InputError(str(e), where=str(file), hint="check the config file for a typing error") from e
    if not isinstance(value, dict):
        raise InputError(f"a JSON {type(value).__name__} where an object is needed", where=str(file),
                         hint="give the config.json of the model")
    return value


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    out = dict(pairs)
    if len(out) != len(pairs):
        seen: set[str] = set()
        twice = next(k for k, _ in pairs if k in seen or seen.add(k))  # type: ignore[func-returns-value]
        raise ValueError(f"the key {twice!r} appears twice in one object")
    return out


def _locate(path: Path) -> Path:
    """The config file that ``path`` means."""
    try:
        path.stat()
    except FileNotFoundError as e:
        raise InputError("no such file or folder", where=str(path),
                         hint="give a config.json or its folder; nothing is downloaded") from e
    except (OSError, ValueError) as e:
        raise InputError(f"cannot read the path: {e}", where=str(path), hint="give a config.json or its folder") from e
    if path.is_dir():
        inside = path / "config.json"
        if inside.is_file():
            return inside
        others = sorted(p.name for p in path.glob("*config.json"))[:3]
        raise InputError("the folder has no config.json", where=str(path), hint=(
            f"give one of its files: {', '.join(others)}" if others else "give the folder of a downloaded model"))
    return path


def _sidecar(file: Path) -> Path | None:
    """ModelOpt's sidecar: ``hf_quant_config.json`` beside ``config.json``, ``X_hf_quant_config.json`` beside
    ``X_config.json``; None where there is none."""
    if file.name.endswith("hf_quant_config.json"):
        raise InputError("this is a quantisation sidecar, not a model config", where=str(file),
                         hint="give the config.json beside it; the sidecar is then read as well")
    side = file.with_name("hf_quant_config.json" if file.name == "config.json"
                          else file.name.removesuffix("config.json") + "hf_quant_config.json")
    return side if file.name.endswith("config.json") and side.is_file() else None


def _text_part(outer: Fields) -> Fields:
    """The object that describes the text decoder."""
    for key in _NESTED:
        if isinstance(outer.data.get(key), dict) and not outer.has("num_hidden_layers", "n_layer"):
            nested = outer.sub(key)
            if nested is not None:
                return _text_part(nested)
    return outer


def _refuse(outer: Fields, text: Fields, model_type: str) -> None:
    """Raise for what is no decoder-only language model that costplan can plan."""
    reason = REFUSED.get(model_type.lower().removesuffix("_text"))
    if reason is None and outer.flag("is_encoder_decoder", default=False):
        reason = "an encoder-decoder; costplan plans decoder-only models"
    if reason is not None:
        raise text.fail("model_type", f"{model_type or 'unknown'!r} is {reason}",
                        "`costplan catalog models` lists what is built in")


def _family(text: Fields, model_type: str) -> tuple[Family, tuple[str, ...]]:
    """The row of the architecture; a Llama-like guess, with a note, for one that is not known."""
    known = family_of(model_type) if model_type else None
    if known is not None:
        return known, ()
    foreign = next((k for k in text.data if k.startswith(_FOREIGN) and text.has(k)), None)
    if foreign is not None:
        raise text.fail("model_type", f"is {model_type or 'missing'}, unknown, and {foreign} says that it is no plain "
                        "transformer", f"known types: {', '.join(sorted(FAMILIES)[:8])}, ...")
    return Family(), (f"model_type {model_type or 'missing'} is not known: read as a Llama-like decoder",)


def _depth(text: Fields) -> int:
    pattern = text.text("hybrid_override_pattern")
    names = text.array("layers_block_type")
    if not text.has("num_hidden_layers", "n_layer", "n_layers", "num_layers") and (pattern or names):
        return len(pattern or names or [])
    return text.num_layers


def _tied(text: Fields, outer: Fields, family: Family) -> bool:
    """``tie_word_embeddings`` of the outer config, then of the text part, then the class default."""
    default = text.flag("tie_word_embeddings", default=family.tie)
    return default if text is outer else outer.flag("tie_word_embeddings", default=default)


def _other(text: Fields, family: Family, hidden: int, num_layers: int, vocab: int, ple: int) -> int:
    """Weights outside layers, embeddings and head: final norm, head bias, per-layer-embedding projection."""
    other = norm_width(text, family) * (2 if family.embed_norm else 1)
    if family.head_bias:
        other += vocab
    if ple:
        other += hidden * num_layers * ple + ple
    hc = text.integer_or(0, "hc_mult", low=0, high=64)
    if hc:
        other += hc * hc * hidden + hc + 1
    return other


def _mtp(text: Fields, groups: tuple[LayerGroup, ...], hidden: int) -> int:
    """Multi-token-prediction layers: each one decoder layer, a projection of [hidden, embedding], three norms."""
    depth = text.integer_or(0, "num_nextn_predict_layers", "mtp_num_hidden_layers", low=0, high=64)
    if not depth or not groups:
        return 0
    attends = "*" in text.text("mtp_hybrid_override_pattern") or (
        "attention" in (text.array("mtp_layers_block_type") or ()))
    if attends:  # one attention and one expert layer (Nemotron 3)
        block = sum(layer_params(g.layer, hidden).total for g in groups
                    if any(isinstance(m, Attention) for m in g.layer.mixers) or isinstance(g.layer.mlp, MoeMlp))
    else:
        block = layer_params(groups[-1].layer, hidden).total
    return depth * (block + 2 * hidden * hidden + 3 * hidden)
