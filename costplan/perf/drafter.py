"""Who drafts in speculative decoding, how well, and what it takes: its kernels, its weights, its KV cache."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property

from costplan.catalog.model_spec import ModelSpec
from costplan.catalog.models import model as find_model
from costplan.core.errors import DoesNotFitError, InputError, UnknownNameError
from costplan.perf.assemble import latency_model
from costplan.perf.batch import BatchState
from costplan.perf.drafting import HEADS, WITHOUT_A_MODEL
from costplan.perf.kv import kv_bytes_per_token
from costplan.perf.kv_budget import KvBudget
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.predict import Deployment
from costplan.perf.weights import weight_bytes_per_rank
from costplan.profile.store import Profile

NOT_IN_A_HEAD = ("embedding", "lm_head", "vision", "ple", "rope")
"""Weights that a head shares with its model."""


@dataclass(frozen=True, eq=False)
class Drafter:
    """What guesses: its name, itself as a deployment, its weights on a GPU, and its KV per token over that of the
    model. Without ``deployment`` nothing runs on the GPU."""

    name: str
    deployment: Deployment | None = None
    own: Profile | None = None
    weight_bytes: float = 0.0
    kv_share: float = 0.0

    @cached_property
    def model(self) -> KernelLatencyModel | None:
        """Its step times."""
        return None if self.deployment is None else model_of(self.deployment, self.own)

    def step_s(self, batch: BatchState) -> float:
        """Seconds of one guess for every sequence, or of the draft's own prefill: kernels only, for the engine
        prepares once per cycle."""
        if self.model is None:
            return 0.0
        return self.model.step_s(batch) - self.model.pp * self.model.overhead.step_s(0.0, batch)


def draft_spec(spec: ModelSpec, draft: str) -> ModelSpec | None:
    """What ``draft`` runs beside ``spec``; None where nothing does. Raises InputError for what cannot draft for it."""
    if draft == WITHOUT_A_MODEL:
        return None
    if draft == "mtp" and not spec.mtp_params:
        raise InputError(f"{spec.name} has no layers for multi-token prediction", where="draft",
                         hint="use eagle, ngram, or a small model of the same family")
    if draft in HEADS:
        return replace(spec, layers=(replace(spec.layers[-1], count=1, copies=None),))
    try:
        small = find_model(draft, where="draft")
    except UnknownNameError as e:
        raise InputError(e.message, where=e.where, hint=f"{e.hint} Or mtp, eagle, ngram.") from None
    if small.vocab_size != spec.vocab_size:
        raise InputError(f"{small.name} has {small.vocab_size:,} tokens, {spec.name} {spec.vocab_size:,}: it "
                         "cannot guess for it", where="draft", hint="choose a draft model of the same family")
    return small


def drafter_of(dep: Deployment, draft: str, own: Profile | None = None) -> Drafter:
    """The drafter named ``draft`` beside the model of ``dep``. Raises InputError.

    A head is one block of the model and its output head (EAGLE, arXiv 2401.15077; DeepSeek-V3 MTP, 2412.19437); a
    draft model is split over the same GPUs; n-grams are looked up on the host.
    """
    spec, lay = draft_spec(dep.spec, draft), dep.layout
    if spec is None:
        return Drafter("n-grams of the prompt")
    small = replace(dep, spec=spec, layout=replace(lay, pp=1))
    if draft in HEADS:
        block = weight_bytes_per_rank(spec, lay.tp, 1, lay.tp * lay.dp, dep.weight_dtype)
        return Drafter(f"{draft} head: one block of {dep.spec.name}", small, own,
                       sum(b for part, b in block.parts if part not in NOT_IN_A_HEAD), _kv_share(dep, small))
    small = replace(small, weight_dtype=None)
    return Drafter(spec.name, small, own, weight_bytes_per_rank(spec, lay.tp).total, _kv_share(dep, small))


def model_of(dep: Deployment, own: Profile | None) -> KernelLatencyModel:
    """Step times of a deployment, without drafts."""
    return latency_model(dep.spec, dep.gpu, dep.layout, engine=dep.engine, engine_version=dep.engine_version,
                         weight_dtype=dep.weight_dtype, kv_dtype=dep.stored_kv_dtype, weight_only=dep.weight_only,
                         profile=own, block_size=dep.block_size)


def _kv_share(dep: Deployment, small: Deployment) -> float:
    whole = kv_bytes_per_token(dep.spec, dep.stored_kv_dtype, dep.layout.tp, dep.layout.pp)
    return kv_bytes_per_token(small.spec, dep.stored_kv_dtype, dep.layout.tp) / whole if whole else 0.0


def room_beside(budget: KvBudget, drafter: Drafter) -> KvBudget:
    """The KV cache that the weights and the KV of the draft leave. Raises DoesNotFitError."""
    left = budget.kv_bytes - round(drafter.weight_bytes)
    blocks = budget.pool.num_blocks(left / (1 + drafter.kv_share)) if left > 0 else 0
    if blocks < len(budget.pool.groups):
        raise DoesNotFitError(f"beside {drafter.name} nothing is left for the KV cache",
                              hint="use more or larger GPUs, a smaller draft, or ngram")
    weights = replace(budget.weights, parts=(*budget.weights.parts, ("draft", drafter.weight_bytes)))
    return replace(budget, weights=weights, kv_bytes=left, num_blocks=blocks)
