"""What `costplan predict` found, as one value: text and JSON are two renderings of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from costplan.core.evidence import Estimate, Evidence
from costplan.perf.latency import StepTime
from costplan.perf.predict import Deployment, Prediction
from costplan.perf.speculative import Speculation
from costplan.perf.steady import Load, LoadKind
from costplan.plan.cost import Cost
from costplan.profile.manifest import Manifest

WORTH_SAYING = 0.05
"""Share of a step's time from which weak evidence is worth a warning."""


@dataclass(frozen=True, slots=True)
class Metric:
    """One number of the answer. ``unit`` is s, tok/s, req/s or usd."""

    key: str
    label: str
    unit: str
    estimate: Estimate


@dataclass(frozen=True, slots=True)
class Answer:
    """Question, prediction, money. ``manifest`` is of the profile that answered first; None: no kernels at all.
    ``assumed`` says what was taken for granted in reading the question. With drafts ``prediction`` is with them, and
    ``without_drafts`` the other."""

    deployment: Deployment
    load: Load
    prediction: Prediction
    cost: Cost | None
    manifest: Manifest | None
    assumed: tuple[str, ...] = ()
    speculative: Speculation | None = None
    without_drafts: Prediction | None = None

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """The numbers in the order in which people ask for them."""
        p, c = self.prediction, self.cost
        found = [Metric("ttft_s", "TTFT", "s", p.ttft_s), Metric("tpot_s", "TPOT", "s", p.tpot_s),
                 Metric("e2e_s", "end to end", "s", p.e2e_s),
                 Metric("output_tok_s_per_gpu", "output per GPU", "tok/s", p.output_tok_s_per_gpu),
                 Metric("output_tok_s", "output, all GPUs", "tok/s", p.output_tok_s),
                 Metric("requests_per_s", "requests", "req/s", p.output_tok_s.scaled(1 / self.load.osl))]
        if c is not None:
            found += [Metric("usd_per_mtok_out", "1M output tokens", "usd", c.usd_per_mtok_out),
                      Metric("usd_per_request", "one request", "usd", c.usd_per_request)]
        return tuple(found)

    @property
    def sequences_that_fit(self) -> float:
        """Sequences at their full length that the KV cache of all replicas holds at once."""
        tokens = max(1, math.ceil(self.load.isl + self.load.osl))
        return self.prediction.budget.concurrency(tokens) * self.deployment.replicas * self.deployment.layout.dp

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the reader must know before believing the numbers."""
        return (*self.assumed, *self._load_warnings(), *self._kernel_warnings(), *self._money_warnings())

    def _load_warnings(self) -> list[str]:
        p, load = self.prediction, self.load
        if not p.point.saturated:
            return []
        served = p.output_tok_s.value / load.osl
        if load.kind is LoadKind.RATE:
            return [f"saturated: {load.value:.3g} requests/s are offered and {served:.3g} can be served, so the queue "
                    "grows without end; TTFT is that without queueing. Add replicas or GPUs"]
        running = p.point.batch * self.deployment.replicas * self.deployment.layout.dp
        return [f"saturated: of {load.value:.0f} requests in flight about {running:.0f} run, the others wait "
                f"{p.point.queue_s:.3g} s each; TTFT includes that wait"]

    def _kernel_warnings(self) -> list[str]:
        p, gpu = self.prediction, self.deployment.gpu.name
        if self.manifest is None:
            return ["no measured kernels at hand: the times are a roofline with typical efficiencies"]
        out = []
        if p.measured_on != gpu:
            out.append(f"the kernels of {self.manifest.name} were measured on {p.measured_on}, not on {gpu}: scaled by "
                       "the roofline")
        if self.manifest.engine not in (self.deployment.engine, "costplan"):
            out.append(f"kernels of {self.manifest.engine} stand in for those of {self.deployment.engine}")
        for name, step in (("decode", p.decode_step), ("prefill", p.prefill_step)):
            share = step.shares.get(Evidence.EXTRAPOLATED, 0.0)
            if share > WORTH_SAYING:
                out.append(f"extrapolated: {share:.0%} of the {name} step's kernel time lies outside of what was "
                           "measured")
        return out

    def _money_warnings(self) -> list[str]:
        if self.cost is None:
            return [f"no provider lists {self.deployment.gpu.name}: give --price for $/1M tokens"]
        return [f"the price is stale ({self.cost.label}); give --price for today's"] if self.cost.stale else []


def waits(step: StepTime) -> dict[str, float]:
    """Share of a step by what it waits for: compute, bandwidth, latency, network, and ``engine`` (no kernel)."""
    by_bound: dict[str, float] = {}
    for timing, count in step.timings:
        by_bound[timing.bound] = by_bound.get(timing.bound, 0.0) + timing.seconds * count
    kernels = sum(by_bound.values())
    engine = step.parts.get("engine", 0.0) / step.seconds if step.seconds else 0.0
    shares = {k: v / kernels * (1.0 - engine) for k, v in by_bound.items()} if kernels else {}
    return dict(sorted({**shares, "engine": engine}.items(), key=lambda kv: -kv[1]))


def kernel_versions(manifest: Manifest, families: Sequence[str] = ("gemm", "attn_decode", "attn_prefill")) -> str:
    """Versions of the engine whose kernels were measured, e.g. ``vllm 0.25.0, 0.31.0``."""
    named = [v for k, v in manifest.versions.items() if v and k.startswith(f"{manifest.engine}:")
             and k.split(":", 1)[1] in families]
    plain = manifest.versions.get("engine") or manifest.versions.get(manifest.engine)
    found = sorted(set(named)) or ([plain] if plain else [])
    return f"{manifest.engine} {', '.join(found)}" if found else f"{manifest.engine}, version not recorded"
