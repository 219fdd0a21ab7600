"""Speculative decoding in each engine's own words."""

from __future__ import annotations

import json
from typing import Any

from costplan.perf.drafting import HEADS, WITHOUT_A_MODEL, Drafting
from costplan.plan.config import EngineConfig
from costplan.plan.emit_names import model_ref

NAME_IT = "NAME-THE-DRAFT"
"""Stands where only the user knows what to load."""
_VLLM = {"mtp": "mtp", "eagle": "eagle3", WITHOUT_A_MODEL: "ngram"}
_SGLANG = {"mtp": "NEXTN", "eagle": "EAGLE3", WITHOUT_A_MODEL: "NGRAM"}
_TRTLLM = {"mtp": "MTP", "eagle": "Eagle3", WITHOUT_A_MODEL: "NGram"}


def loaded(d: Drafting) -> str | None:
    """What the engine loads the draft from; None where the model brings it along or none is needed."""
    if d.draft in ("mtp", WITHOUT_A_MODEL):
        return None
    if d.checkpoint is not None:
        return model_ref(d.checkpoint, where="speculative.checkpoint")
    return NAME_IT if d.draft in HEADS else model_ref(d.draft, where="speculative.draft")


def vllm_drafts(c: EngineConfig) -> list[str]:
    """``--speculative-config`` and its JSON."""
    d = c.speculative
    if d is None:
        return []
    told: dict[str, Any] = {"method": _VLLM.get(d.draft, "draft_model"), "num_speculative_tokens": d.tokens}
    if (path := loaded(d)) is not None:
        told["model"] = path
    return ["--speculative-config", json.dumps(told)]


def sglang_drafts(c: EngineConfig) -> list[str]:
    """A chain of drafts: ``eagle-topk`` 1; the checked tokens are one more than the drafts."""
    d = c.speculative
    if d is None:
        return []
    args = ["--speculative-algorithm", _SGLANG.get(d.draft, "STANDALONE")]
    if (path := loaded(d)) is not None:
        args += ["--speculative-draft-model-path", path]
    if d.draft != WITHOUT_A_MODEL:
        args += ["--speculative-num-steps", str(d.tokens), "--speculative-eagle-topk", "1"]
    return [*args, "--speculative-num-draft-tokens", str(d.tokens + 1)]


def trtllm_drafts(c: EngineConfig) -> dict[str, Any]:
    """``speculative_config`` of TorchLlmArgs."""
    d = c.speculative
    if d is None:
        return {}
    told: dict[str, Any] = {"decoding_type": _TRTLLM.get(d.draft, "Draft_Target"), "max_draft_len": d.tokens}
    if (path := loaded(d)) is not None:
        told["speculative_model"] = path
    return {"speculative_config": told}


def draft_notes(c: EngineConfig) -> tuple[str, ...]:
    """What the flags cannot say."""
    d = c.speculative
    if d is None:
        return ()
    out = [f"drafts: the plan counts on {d.acceptance:.0%} of {d.tokens} guesses per cycle being kept; compare with "
           "the acceptance that the engine logs"]
    if loaded(d) == NAME_IT:
        out.append(f"replace {NAME_IT} by a head trained for this model, or name it under speculative.checkpoint")
    return tuple(out)
