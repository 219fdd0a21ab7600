"""From the flags of speculative decoding to its answer."""

from __future__ import annotations

from dataclasses import replace

from costplan.catalog.models import model as find_model
from costplan.core.errors import InputError, UnknownNameError
from costplan.perf.assemble import latency_model
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.predict import Deployment, Prediction
from costplan.perf.speculative import Drafter, Speculation, speculation
from costplan.perf.steady import Load
from costplan.perf.weights import weight_bytes_per_rank
from costplan.profile.store import Profile

HEADS = ("mtp", "eagle")
WITHOUT_A_MODEL = "ngram"
DRAFT_TOKENS, SPREAD = 4, 0.1


def speculated(dep: Deployment, asked: Load, found: Prediction, own: Profile | None, draft: str | None,
               acceptance: float | None, draft_tokens: int | None, spread: float | None) -> Speculation | None:
    """The answer for ``draft``; None where nobody asks. Raises InputError with the flag's name."""
    if draft is None:
        given = {"--acceptance": acceptance, "--draft-tokens": draft_tokens, "--acceptance-spread": spread}
        for flag, value in given.items():
            if value is not None:
                raise InputError("says nothing without --spec-draft", where=flag,
                                 hint="--spec-draft mtp, eagle, ngram or the name of a draft model")
        return None
    if acceptance is None:
        raise InputError("is needed with --spec-draft", where="--acceptance",
                         hint="the share of guesses that are kept; engines log it (0.6 to 0.8 is common for EAGLE-3)")
    target = _times(dep, own)
    return speculation(
        target, _drafter(dep, draft, own), acceptance=acceptance, spread=SPREAD if spread is None else spread,
        draft_tokens=draft_tokens or DRAFT_TOKENS, context=asked.isl + asked.osl / 2, osl=asked.osl,
        here=round(found.point.batch), most=found.budget.limits.max_num_seqs)


def _times(dep: Deployment, own: Profile | None) -> KernelLatencyModel:
    return latency_model(dep.spec, dep.gpu, dep.layout, engine=dep.engine, engine_version=dep.engine_version,
                         weight_dtype=dep.weight_dtype, kv_dtype=dep.stored_kv_dtype, weight_only=dep.weight_only,
                         profile=own)


def _drafter(dep: Deployment, draft: str, own: Profile | None) -> Drafter:
    """A head is one block of the model and its output head (EAGLE, arXiv 2401.15077; DeepSeek-V3 MTP, 2412.19437); a
    draft model is split over the same GPUs; n-grams are looked up on the host."""
    if draft == WITHOUT_A_MODEL:
        return Drafter("n-grams of the prompt", None)
    if draft in HEADS:
        last = replace(dep.spec.layers[-1], count=1, copies=None)
        small = replace(dep, spec=replace(dep.spec, layers=(last,)), layout=replace(dep.layout, pp=1))
        name = f"{draft} head: one block of {dep.spec.name}"
        block = weight_bytes_per_rank(small.spec, dep.layout.tp, 1, dep.layout.tp * dep.layout.dp, dep.weight_dtype)
        size = sum(b for part, b in block.parts if part not in ("embedding", "lm_head", "vision", "ple", "rope"))
        return Drafter(name, _times(small, own), size)
    try:
        spec = find_model(draft, where="--spec-draft")
    except UnknownNameError as e:
        raise InputError(e.message, where=e.where, hint=f"{e.hint} Or mtp, eagle, ngram.") from None
    if spec.vocab_size != dep.spec.vocab_size:
        raise InputError(f"{spec.name} has {spec.vocab_size:,} tokens, {dep.spec.name} {dep.spec.vocab_size:,}: it "
                         "cannot guess for it", where="--spec-draft", hint="choose a draft model of the same family")
    small = replace(dep, spec=spec, layout=replace(dep.layout, pp=1), weight_dtype=None)
    size = weight_bytes_per_rank(spec, dep.layout.tp).total
    return Drafter(spec.name, _times(small, own), size)
