"""Time real engine steps: every case in two passes of random order, warmed up, with and without the layers."""

from __future__ import annotations

import random
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

from costplan.kernels.live_cache import FlatCache, PagedCache
from costplan.kernels.live_machine import describe
from costplan.kernels.live_model import build
from costplan.kernels.live_trace import group_of, trace
from costplan.profile.steps import LiveHow, LiveModel, LiveRun, StepCase, StepTimes

Step = Callable[[], Any]
Progress = Callable[[str, int, int], None]
PASSES = 2
_LEAST_SAMPLES, _MOST_SAMPLES, _LEAST_WARMUPS = 5, 40, 2


def run_live(model: LiveModel, how: LiveHow, cases: Sequence[StepCase], *, sample_s: float = 1.0, seed: int = 0,
             progress: Progress | None = None) -> LiveRun:
    """Steps of ``model`` over ``cases``; about ``sample_s`` seconds of samples for each case and pass. Then each is run
    once more under torch.profiler."""
    import torch

    machine = describe(how.device)
    with torch.inference_mode():
        dispatch_s = _dispatch_s(model, how) if how.mode == "eager" else 0.0
        net = build(model, how.device, how.attention)
        taken: dict[StepCase, list[tuple[float, ...]]] = {c: [] for c in cases}
        outer: dict[StepCase, float] = {}
        for n in range(PASSES):
            order = random.Random(seed + n).sample(list(cases), len(cases))
            for i, case in enumerate(order):
                if progress is not None:
                    progress(f"pass {n + 1}", n * len(cases) + i, PASSES * len(cases))
                taken[case].append(_samples(_launcher(net, model, how, case), how.device, sample_s))
                outer[case] = _outer_s(net, model, how, case, sample_s / 4)
        steps, traces = [], []
        for case in cases:
            step = step_of(net, model, how, case)
            steps.append(StepTimes(case, tuple(taken[case]), outer[case], *_operators(step)))
            comparable = how.device == "cuda" or how.mode == "eager"
            traces.append(trace(step, case, how.device, steps[-1].median_s if comparable else None))
    return LiveRun(model, how, machine, tuple(steps), tuple(traces), dispatch_s)


def step_of(net: Any, model: LiveModel, how: LiveHow, case: StepCase) -> Step:
    """One engine step as a call: forward pass, logits of the last tokens, one draw per sequence (exponential race)."""
    import torch

    like = net.lm_head.weight
    new = case.context if case.prefill else 1
    past = case.context - new
    cache = (PagedCache(model, case.batch, case.context, past, how.page_size, like) if how.page_size else
             FlatCache(model, case.batch, case.context, past, like))
    ids = torch.randint(0, model.vocab_size, (case.batch, new), device=like.device)
    positions = torch.arange(past, case.context, device=like.device).expand(case.batch, new)
    noise = torch.empty(case.batch, model.vocab_size, device=like.device).exponential_().clamp_min_(1e-9)

    def step() -> Any:
        out = net(input_ids=ids, position_ids=positions, past_key_values=cache, use_cache=True, logits_to_keep=1)
        return (out.logits[:, -1].float().softmax(-1) / noise).argmax(-1)

    return step


def _launcher(net: Any, model: LiveModel, how: LiveHow, case: StepCase) -> Step:
    """The step in the mode that was asked for: as it is, compiled, or as one CUDA graph."""
    import torch

    step = step_of(net, model, how, case)
    if how.mode == "compile":
        torch._dynamo.reset()
        step = torch.compile(step, dynamic=False)
    if how.device != "cuda" or how.mode == "eager":
        return step
    cuda: Any = torch.cuda
    side = cuda.Stream()
    side.wait_stream(cuda.current_stream())
    with cuda.stream(side):
        for _ in range(3):
            step()
    cuda.current_stream().wait_stream(side)
    graph = cuda.CUDAGraph()
    with cuda.graph(graph):
        step()
    replay: Step = graph.replay
    return replay


def _samples(step: Step, device: str, budget_s: float) -> tuple[float, ...]:
    """Seconds of single steps after a warm-up; at least five, and as many as the budget allows."""
    timed = _timed_on_gpu if device == "cuda" else _timed
    warm = [timed(step) for _ in range(_LEAST_WARMUPS)]
    while sum(warm) < budget_s / 4 and len(warm) < _MOST_SAMPLES:
        warm.append(timed(step))
    out: list[float] = []
    while len(out) < _LEAST_SAMPLES or (sum(out) < budget_s and len(out) < _MOST_SAMPLES):
        out.append(timed(step))
    return tuple(out)


def _timed(step: Step) -> float:
    began = time.perf_counter_ns()
    step()
    return (time.perf_counter_ns() - began) * 1e-9


def _timed_on_gpu(step: Step) -> float:
    import torch

    event: Any = torch.cuda.Event
    start, end = event(enable_timing=True), event(enable_timing=True)
    start.record()
    step()
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end)) * 1e-3


def _outer_s(net: Any, model: LiveModel, how: LiveHow, case: StepCase, budget_s: float) -> float:
    """Median seconds of a step through no layer: embedding, final norm, head, sampling."""
    net.config.num_hidden_layers = 0
    try:
        x = sorted(_samples(_launcher(net, model, how, case), how.device, budget_s))
    finally:
        net.config.num_hidden_layers = model.num_layers
    return x[len(x) // 2]


def _dispatch_s(model: LiveModel, how: LiveHow) -> float:
    """Seconds per operator of the same code with tensors so small that only launching them is left."""
    tiny = replace(model, hidden_size=32, intermediate_size=32, num_layers=4, num_heads=2, num_kv_heads=1, head_dim=16,
                   vocab_size=32)
    step = step_of(build(tiny, how.device, how.attention), tiny, how, StepCase(False, 1, 16))
    x = sorted(_samples(step, how.device, 0.3))
    return x[len(x) // 2] / _operators(step)[0]


def _operators(step: Step) -> tuple[int, int, int]:
    """Torch operators of one step; matrix products and attention among them; other operators that move data."""
    from torch.utils import _python_dispatch

    seen: Counter[str] = Counter()
    mode: Any = _python_dispatch.TorchDispatchMode

    class Count(mode):  # type: ignore[misc]
        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            seen[str(func)] += 1
            return func(*args, **(kwargs or {}))

    with Count():
        step()
    groups: Counter[str] = Counter()
    for name, n in seen.items():
        groups[group_of(name)] += n
    return sum(seen.values()), groups["gemm"] + groups["attention"], groups["elementwise"] + groups["copy"]
