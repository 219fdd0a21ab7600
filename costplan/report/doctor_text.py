"""`costplan doctor`: what this machine can measure, as text and as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costplan.kernels.doctor import Diagnosis, Found
from costplan.report.columns import Column, facts, heading, table
from costplan.report.style import Style

SCHEMA = "costplan.doctor/1"
_FACTS = ("formats", "head_dims", "pages", "splits", "window", "ragged", "n", "k", "fused", "compiled_beforehand",
          "file")
_WORDS = {"head_dims": "head_dim", "compiled_beforehand": "modules compiled", "n": "n", "k": "k"}


def doctor_text(found: Diagnosis, style: Style) -> str:
    """Environment, backends that run, those that do not, SDPA's choice, advice."""
    lines = [*heading("environment", style), *facts(_environment(found.environment), style, indent="  "), ""]
    for device in dict.fromkeys(b.device for b in found.backends):
        mine = [b for b in found.backends if b.device == device]
        here = [b for b in mine if b.availability.ok]
        lines += [*heading(f"{device}: {len(here)} of {len(mine)} backends run", style), *_running(here, style)]
        lines += [*_absent([b for b in mine if not b.availability.ok], style), ""]
    if found.sdpa is not None:
        lines += [*_sdpa(found.sdpa, style), ""]
    lines += _advice(found, style)
    return "\n".join(lines).rstrip() + "\n"


def _environment(env: Mapping[str, Any]) -> list[tuple[str, str]]:
    torch, packages = env.get("torch") or {}, env.get("packages") or {}
    out = [("system", f"{env['system']}, Python {env.get('python')}")] if "system" in env else []
    out.append(("torch", _torch(torch)))
    if "driver" in env:
        driver = env["driver"] or f"not read ({env.get('driver_unread', 'unknown')})"
        out.append(("driver", driver + (f", CUDA up to {env['driver_cuda']}" if env.get("driver_cuda") else "")))
        out.append(("nvcc", env.get("nvcc") or "none"))
    for gpu in torch.get("gpus") or ():
        out.append(("GPU", f"{gpu['name']}, compute capability {gpu['capability']}, "
                           f"{gpu['memory_bytes'] / 2**30:.0f} GiB, {gpu['multiprocessors']} multiprocessors"))
    if "gpus" in torch and not torch["gpus"]:
        out.append(("GPU", "none"))
    state = {k: v for k, v in (env.get("telemetry") or {}).items() if v is not None and k not in ("unread", "driver")}
    if state:
        words = (f"{k} {v:g}" if isinstance(v, float) else f"{k} {v}" for k, v in state.items())
        out.append(("GPU state", ", ".join(words)))
    others = {k: v for k, v in packages.items() if k != "torch"}
    if others:
        out.append(("packages", ", ".join(f"{k} {v}" for k, v in others.items())))
    return out


def _torch(torch: Mapping[str, Any]) -> str:
    if error := torch.get("error"):
        return str(error)
    cudnn = f", cuDNN {torch['cudnn']}" if torch.get("cudnn") else ""
    return f"{torch.get('version')}, {'CUDA ' + torch['cuda'] if torch.get('cuda') else 'without CUDA'}{cudnn}"


def _running(backends: Sequence[Found], style: Style) -> list[str]:
    columns = (Column("backend"), Column("version"), Column("families", widest=24), Column("limits"))
    rows = [(b.name, b.availability.version or "", ", ".join(b.families), _limits(b)) for b in backends]
    return table(columns, rows, style, indent="  ") if rows else []


def _limits(b: Found) -> str:
    given = b.availability.facts
    return "; ".join(f"{_WORDS.get(k, k.replace('_', ' '))} {given[k]}" for k in _FACTS if given.get(k))


def _absent(backends: Sequence[Found], style: Style) -> list[str]:
    """Backends that do not run; equal reasons share a line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for b in backends:
        groups.setdefault((b.availability.reason, b.availability.install), []).append(b.name)
    columns = (Column("does not run", widest=34), Column("why"), Column("what to do"))
    rows = [(", ".join(names), why, do) for (why, do), names in groups.items()]
    return table(columns, rows, style, indent="  ") if rows else []


def _sdpa(answer: Mapping[str, Any], style: Style) -> list[str]:
    lines = heading(f"scaled_dot_product_attention: {answer['question']}", style)
    if answer.get("error"):
        return [*lines, *facts([("not answered", str(answer["error"]))], style, indent="  ")]
    pairs = [("runs", f"{answer['ran']} on {answer['device']} ({', '.join(answer['operators'])})")]
    pairs += [(name, "could run" if reason is None else f"refused: {reason}")
              for name, reason in answer["kernels"].items()]
    return [*lines, *facts(pairs, style, indent="  ")]


def _advice(found: Diagnosis, style: Style) -> list[str]:
    if not found.advice:
        return heading("nothing to mend" if found.usable else "nothing can be measured here", style)
    lines = heading("what to do", style)
    for a in found.advice:
        lines += facts([("!" if a.grave else "-", f"{a.what}. To mend it: {a.do}.")], style, indent="  ")
    return lines


def doctor_json(found: Diagnosis) -> dict[str, Any]:
    """Everything that was found, for programs."""
    return {
        "schema": SCHEMA, "usable": found.usable, "environment": dict(found.environment),
        "backends": [{"name": b.name, "device": b.device, "domain": b.domain, "families": list(b.families),
                      "available": b.availability.ok, "version": b.availability.version,
                      "reason": b.availability.reason or None, "install": b.availability.install or None,
                      "facts": dict(b.availability.facts)} for b in found.backends],
        "sdpa": None if found.sdpa is None else dict(found.sdpa),
        "advice": [{"what": a.what, "do": a.do, "grave": a.grave} for a in found.advice]}
