"""Clocks: seconds of a batch of calls on the CPU, or on a CUDA device by events and graphs."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

Call = Callable[[], Any]


class Clock(Protocol):
    """How one kind of device is timed."""

    def synchronize(self) -> None:
        """Wait until all launched work is done."""
        ...

    def steady(self, calls: Sequence[Call], per_sample: int, *, graph: bool) -> Callable[[], list[float]]:
        """A sampler: each use runs ``per_sample`` calls back to back, cycling through ``calls``, and returns
        seconds per call (one or more samples)."""
        ...

    def cold(self, calls: Sequence[Call]) -> Callable[[], list[float]]:
        """A sampler of single calls, each after the last-level cache was overwritten."""
        ...

    def floor_s(self) -> float:
        """Seconds that an empty measurement takes."""
        ...


class CpuClock:
    """Host clock. ``cache_bytes``: last-level cache, overwritten twofold before a cold call."""

    def __init__(self, cache_bytes: int) -> None:
        self.cache_bytes = cache_bytes
        self._flush: Any = None

    def synchronize(self) -> None:
        """CPU kernels have returned when their call has."""

    def steady(self, calls: Sequence[Call], per_sample: int, *, graph: bool) -> Callable[[], list[float]]:
        at = 0

        def sample() -> list[float]:
            nonlocal at
            start = time.perf_counter_ns()
            for _ in range(per_sample):
                calls[at]()
                at = at + 1 if at + 1 < len(calls) else 0
            return [(time.perf_counter_ns() - start) / per_sample * 1e-9]

        return sample

    def cold(self, calls: Sequence[Call]) -> Callable[[], list[float]]:
        at = 0

        def sample() -> list[float]:
            nonlocal at
            self._overwrite_cache()
            start = time.perf_counter_ns()
            calls[at]()
            spent = time.perf_counter_ns() - start
            at = (at + 1) % len(calls)
            return [spent * 1e-9]

        return sample

    def floor_s(self) -> float:
        sampler = self.steady([_nothing], 1000, graph=False)
        return min(sampler()[0] for _ in range(20))

    def _overwrite_cache(self) -> None:
        if self._flush is None:
            import torch

            self._flush = torch.zeros(2 * self.cache_bytes // 4, dtype=torch.float32)
        self._flush.add_(1.0)


class CudaClock:
    """CUDA events around graph replays (steady) or single launches (cold)."""

    COLD_PER_SAMPLE = 10

    def __init__(self, cache_bytes: int) -> None:
        self.cache_bytes = cache_bytes
        self._flush: Any = None

    def synchronize(self) -> None:
        import torch

        torch.cuda.synchronize()

    def steady(self, calls: Sequence[Call], per_sample: int, *, graph: bool) -> Callable[[], list[float]]:
        import torch

        rounds = -(-max(per_sample, len(calls)) // len(calls))
        order = [c for _ in range(rounds) for c in calls]
        replay = self._captured(order) if graph else None

        def launch() -> None:
            if replay is not None:
                replay()
            else:
                for call in order:
                    call()

        def sample() -> list[float]:
            start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
            start.record()
            launch()
            end.record()
            end.synchronize()
            return [start.elapsed_time(end) * 1e-3 / len(order)]

        return sample

    def cold(self, calls: Sequence[Call]) -> Callable[[], list[float]]:
        import torch

        at = 0

        def sample() -> list[float]:
            nonlocal at
            pairs = []
            for _ in range(self.COLD_PER_SAMPLE):
                self._overwrite_cache()
                start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
                start.record()
                calls[at]()
                end.record()
                at = (at + 1) % len(calls)
                pairs.append((start, end))
            torch.cuda.synchronize()
            return [a.elapsed_time(b) * 1e-3 for a, b in pairs]

        return sample

    def floor_s(self) -> float:
        return min(self.cold([_nothing])())

    def _captured(self, order: Sequence[Call]) -> Call:
        """The calls as one CUDA graph, warmed up on a side stream as torch asks for."""
        import torch

        side = torch.cuda.Stream()
        side.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(side):
            for call in order[: max(3, len(set(order)))]:
                call()
        torch.cuda.current_stream().wait_stream(side)
        captured = torch.cuda.CUDAGraph()
        with torch.cuda.graph(captured):
            for call in order:
                call()
        replay: Call = captured.replay
        return replay

    def _overwrite_cache(self) -> None:
        import torch

        if self._flush is None:
            self._flush = torch.zeros(max(2 * self.cache_bytes, 128 << 20), dtype=torch.int8, device="cuda")
        self._flush.zero_()


def _nothing() -> None:
    pass
