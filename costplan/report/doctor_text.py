"""`costplan doctor`: what this machine can measure, as text."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from costplan.report.columns import Column, facts, heading, table
from costplan.report.style import Style

_FACTS = ("formats", "head_dims", "pages", "splits", "window", "ragged", "n", "k", "fused", "compiled_beforehand",
          "file")
_WORDS = {"head_dims": "head_dim", "compiled_beforehand": "modules compiled", "n": "n", "k": "k"}


def doctor_text(found: Mapping[str, Any], style: Style) -> str:
    """Environment, backends that run, those that do not, SDPA's choice, advice, from the document that
    ``--json`` prints."""
    lines = [*heading("environment", style), *facts(_environment(found["environment"]), style, indent="  "), ""]
    for device in dict.fromkeys(b["device"] for b in found["backends"]):
        mine = [b for b in found["backends"] if b["device"] == device]
        here = [b for b in mine if b["available"]]
        lines += [*heading(f"{device}: {len(here)} of {len(mine)} backends run", style), *_running(here, style)]
        lines += [*_absent([b for b in mine if not b["available"]], style), ""]
    if found["sdpa"] is not None:
        lines += [*_sdpa(found["sdpa"], style), ""]
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


def _running(backends: Sequence[Mapping[str, Any]], style: Style) -> list[str]:
    columns = (Column("backend"), Column("version"), Column("families", widest=24), Column("limits"))
    rows = [(b["name"], b["version"] or "", ", ".join(b["families"]), _limits(b)) for b in backends]
    return table(columns, rows, style, indent="  ") if rows else []


def _limits(b: Mapping[str, Any]) -> str:
    given = b["facts"]
    return "; ".join(f"{_WORDS.get(k, k.replace('_', ' '))} {given[k]}" for k in _FACTS if given.get(k))


def _absent(backends: Sequence[Mapping[str, Any]], style: Style) -> list[str]:
    """Backends that do not run; equal reasons share a line."""
    groups: dict[tuple[str, str], list[str]] = {}
    for b in backends:
        groups.setdefault((b["reason"], b["install"] or ""), []).append(b["name"])
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


def _advice(found: Mapping[str, Any], style: Style) -> list[str]:
    if not found["advice"]:
        return heading("nothing to mend" if found["usable"] else "nothing can be measured here", style)
    lines = heading("what to do", style)
    for a in found["advice"]:
        lines += facts([("!" if a["grave"] else "-", f"{a['what']}. To mend it: {a['do']}.")], style, indent="  ")
    return lines
