"""A workload or trace summary as text for a terminal, a pipe or a log."""

from __future__ import annotations

from costplan.report.style import Style, plain
from costplan.workload.summary import LengthSummary, LoadSummary, PrefixSummary, TraceSummary
from costplan.workload.workload import Workload

_EIGHTHS = " ▏▎▍▌▋▊▉█"


def render_summary(s: TraceSummary, style: Style, *, title: str | None = None, of: str = "requests") -> str:
    """Counts, rates, lengths, sharing and histograms of ``s``; no line is wider than ``style.width``."""
    parts = [_title(title or s.source, f"{s.format}, {s.requests:,} {of}", style)]
    if s.dropped:
        parts.append("".join(f"left out     {n:,} rows: {plain(reason)}\n" for reason, n in s.dropped.items()))
    parts.append(_load(s.load, style) if s.load else "arrivals     no times\n")
    parts.append(_lengths(s, style))
    if s.prefix:
        parts.append(_prefix(s.prefix, style))
    parts.append(_histograms(s, style))
    return "\n".join(p.rstrip("\n") for p in parts) + "\n"


def render_workload(w: Workload, s: TraceSummary, style: Style) -> str:
    """What a workload file asks for, then the summary of requests drawn from it."""
    rows = [("model", w.model or "not given"), ("load", _load_words(w))]
    if w.description:
        rows.insert(0, ("about", " ".join(w.description.split())))
    rows.append(("slo", ", ".join(f"{t.metric.value} p{100 * t.percentile:g} <= {duration(t.limit_s)}"
                                  for t in w.slo.targets) or "none: only throughput counts"))
    rows += [(k.replace("_", " "), v) for k, v in _choices(w)]
    head = _title(w.name, "workload", style)
    lines = [line for k, v in rows for line in _row(k, plain(v), style)]
    body = render_summary(s, style, title="drawn from it", of="requests")
    return head + "\n".join(lines) + "\n\n" + body


def duration(seconds: float) -> str:
    """Seconds in the unit that reads best."""
    if seconds < 1:
        return f"{1000 * seconds:.4g} ms"
    return f"{seconds:.4g} s" if seconds < 600 else f"{seconds / 60:,.4g} min"


def _load_words(w: Workload) -> str:
    if w.arrivals.concurrency is not None:
        return f"closed loop of {w.arrivals.concurrency:,} requests in flight"
    rate = f"{w.requests_per_s:,.4g} requests/s"
    if w.diurnal is not None:
        rate += f", {w.peak_requests_per_s:,.4g} in the busiest hour"
    shape = getattr(w.arrivals, "burstiness", None)
    if shape is None:
        return rate + " (replayed trace)"
    return f"{rate}, burstiness {shape:.3g}" + (" (Poisson)" if shape == 1 else "")


def _choices(w: Workload) -> list[tuple[str, str]]:
    out = []
    for group in (w.candidates, w.constraints):
        for name in group.__dataclass_fields__:
            value = getattr(group, name)
            if value not in (None, 0, 0.0):
                out.append((name, ", ".join(map(str, value)) if isinstance(value, tuple) else f"{value:,}"))
    out += [("tenant", f"{t.name}: {t.share:.0%}, priority {t.priority}") for t in w.tenants]
    return out


def _row(key: str, text: str, style: Style) -> list[str]:
    import textwrap

    pad = max(len(key) + 1, 13)
    wrapped = textwrap.wrap(text, max(style.width - pad, 20)) or [""]
    return [(key if i == 0 else "").ljust(pad) + line for i, line in enumerate(wrapped)]


def _title(name: str, what: str, style: Style) -> str:
    name = plain(name)
    room = max(style.width - len(what) - 3, 12)
    if len(name) > room:
        name = "..." + name[-(room - 3):]
    return f"{_bold(name, style)}  {what}\n"


def _bold(text: str, style: Style) -> str:
    return f"\x1b[1m{text}\x1b[0m" if style.color else text


def _dim(text: str, style: Style) -> str:
    return f"\x1b[36m{text}\x1b[0m" if style.color and text else text


def _load(load: LoadSummary, style: Style) -> str:
    rows = [("span", duration(load.span_s)),
            ("rate", f"{load.requests_per_s:,.4g} requests/s, {load.input_tok_s:,.0f} input tok/s, "
            f"{load.output_tok_s:,.0f} output tok/s")]
    words = []
    if load.peak_1min_over_mean is not None:
        words.append(f"busiest minute {load.peak_1min_over_mean:.2f} x mean")
    if load.interarrival_cv is not None:
        words.append(f"CV of gaps {load.interarrival_cv:.2f}")
    if load.burstiness is not None:
        words.append(f"burstiness {load.burstiness:.3g}")
    rows.append(("bursts", ", ".join(words)))
    if load.clock_tick_s is not None:
        rows.append(("clock", f"steps of {duration(load.clock_tick_s)}: the CV of gaps says little"))
    return "\n".join(line for key, text in rows for line in _row(key, text, style)) + "\n"


def _lengths(s: TraceSummary, style: Style) -> str:
    names = ("mean", "min", "p50", "p90", "p95", "p99", "max")
    head = "tokens".ljust(9) + "".join(n.rjust(9) for n in names)
    rows = [side.ljust(9) + "".join(_tokens(getattr(x, n)).rjust(9) for n in names)
            for side, x in (("isl", s.isl), ("osl", s.osl))]
    lines = ["", _bold(head, style), *rows]
    if s.rank_correlation is not None and s.correlation is not None:
        lines.append(f"correlation of isl and osl: {s.rank_correlation:+.2f} by rank, {s.correlation:+.2f} linear")
    return "\n".join(lines) + "\n"


def _tokens(x: float) -> str:
    return f"{x:,.1f}" if x != int(x) and x < 1000 else f"{x:,.0f}"


def _prefix(p: PrefixSummary, style: Style) -> str:
    lines = ["", _bold("prefix sharing", style) + "  input tokens found in an LRU cache, in replay order"]
    peak = max(p.hit_rate_unlimited, 1e-9)
    for blocks, rate in (*p.hit_rate_by_cache_blocks, (None, p.hit_rate_unlimited)):
        size = "unlimited" if blocks is None else f"{blocks:,} blocks"
        tokens = "" if blocks is None else f"{blocks * p.block_tokens:,} tokens"
        bar = _bar(rate / peak, min(style.width - 50, 40), style)
        lines.append(f"{size:>15} {tokens:>18} {rate:>7.1%}  {_dim(bar, style)}".rstrip())
    lines.append(f"blocks of {p.block_tokens} tokens: {p.unique_blocks:,} different of {p.total_blocks:,}; "
                 f"{p.requests_hit:.1%} of requests share")
    return "\n".join(lines) + "\n"


def _histograms(s: TraceSummary, style: Style) -> str:
    parts = []
    for side, what, x in (("isl", "input", s.isl), ("osl", "output", s.osl)):
        parts.append("\n".join(["", _bold(f"{side} histogram", style) + f"  {what} tokens, requests",
                                *_histogram(x, s.requests, style)]))
    return "\n".join(parts) + "\n"


def _histogram(x: LengthSummary, total: int, style: Style) -> list[str]:
    largest = max(c for _, _, c in x.bins)
    bar = min(style.width - 44, 60)
    return [f"{low:>11,} - {high - 1:<11,} {count:>9,} {count / total:>6.1%}  "
            f"{_dim(_bar(count / largest, bar, style), style)}".rstrip() for low, high, count in x.bins]


def _bar(share: float, width: int, style: Style) -> str:
    width = max(width, 4)
    if not style.unicode:
        return "#" * round(share * width)
    eighths = max(round(share * width * 8), 1 if share > 0 else 0)
    return "█" * (eighths // 8) + _EIGHTHS[eighths % 8].strip()
