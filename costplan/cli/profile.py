"""``costplan profile``: import measured kernels, list, show and verify profiles."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from costplan.cli.profile_diff import diff

if TYPE_CHECKING:
    from costplan.profile.raw_summary import RawSummary
    from costplan.profile.sanity import Peaks
    from costplan.profile.store import Listed, Profile

app = typer.Typer(help="Measure the kernels that a workload needs: `costplan profile --workload chat --device cpu`. "
                       "Or import, list, show, verify, diff profiles.")
import_app = typer.Typer(help="Make a profile from somebody else's measurements.", no_args_is_help=True)
app.add_typer(import_app, name="import")
app.command("diff", short_help="Did kernels become slower between two profiles?")(diff)

_JsonFlag = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
_PLENTY_OF_L2_BYTES = 256 << 20


@app.callback(invoke_without_command=True)
def measure(
    ctx: typer.Context,
    workload: Annotated[list[str] | None, typer.Option("--workload", "-w", help="workload.yaml, or a shipped one by "
                                                       "name; may be given again.")] = None,
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Instead of the workload's model; may be "
                                                                          "given again.")] = None,
    device: Annotated[str, typer.Option(help="cuda or cpu.")] = "cuda",
    budget: Annotated[str, typer.Option(help="Time to spend: 10m, 90s, 1h.")] = "10m",
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Folder of the profile (default: your profiles, where "
                                                                 "plans look).")] = None,
    tp: Annotated[list[int] | None, typer.Option(help="Tensor-parallel sizes to measure for; again for more.")] = None,
    engine: Annotated[str, typer.Option(help="Whose kernels to measure: vllm, sglang, trtllm.")] = "vllm",
    only: Annotated[list[str] | None, typer.Option(help="Only these kernel families: gemm, attention, ...")] = None,
    backend: Annotated[list[str] | None, typer.Option(help="Only these backends; see `costplan doctor`.")] = None,
    target: Annotated[float, typer.Option(min=0.001, max=0.5, help="Stop at this relative error of a plan's step "
                                                                   "time.")] = 0.03,
    seed: Annotated[int, typer.Option(min=0, help="Seed of inputs, order and held-out shapes.")] = 0,
    price: Annotated[float | None, typer.Option(min=0, help="USD per hour of this device, for --dry-run.")] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be measured and what it takes.")] = False,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted run.")] = False,
) -> None:
    """Measure the kernels that a workload needs, on this machine, or look after profiles on disk."""
    if ctx.invoked_subcommand is not None:
        return
    if not workload:
        sys.stdout.write(ctx.get_help() + "\n")
        raise typer.Exit(2)
    from costplan.cli.profile_run import run
    from costplan.cli.profile_setup import Wish, budget_s, families
    from costplan.core.errors import UnknownNameError
    from costplan.perf.assemble import ENGINES

    if device not in ("cpu", "cuda"):
        raise UnknownNameError("device", device, ("cpu", "cuda"), where="--device")
    if engine not in ENGINES:
        raise UnknownNameError("engine", engine, ENGINES, where="--engine")
    wish = Wish(tuple(workload), tuple(model or ()), device, budget_s(budget), tuple(tp) if tp else None, engine,
                families(only), tuple(backend) if backend else None, target, seed)
    run(wish, out=out, dry_run=dry_run, resume=resume, price_usd_per_h=price)


@import_app.command("aiconfigurator")
def import_aiconfigurator(
    origin: Annotated[str, typer.Option("--from", help="Wheel file, folder, or installed package "
                                                       "(aisimulate, aiconfigurator-core).")],
    gpu: Annotated[list[str], typer.Option("--gpu", help="GPU, e.g. h200_sxm; may be repeated.")],
    engine: Annotated[list[str], typer.Option("--engine", help="vllm, sglang or trtllm; may be repeated.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder that gets <gpu>-<engine>/.")],
    distribution: Annotated[list[str] | None, typer.Option(
        "--moe-distribution", help="Keep only this expert routing, e.g. balanced; may be repeated.")] = None,
) -> None:
    """Import the kernel tables of an aisimulate or aiconfigurator-core wheel (Apache-2.0 data)."""
    from costplan.catalog.gpus import gpu as find_gpu
    from costplan.profile.ai_import import import_profile
    from costplan.profile.ai_source import open_source

    specs = [find_gpu(name) for name in gpu]
    source = open_source(origin)
    for spec in specs:
        for name in engine:
            made = import_profile(source, gpu=spec.name, engine=name, peaks=_peaks(spec), distributions=distribution,
                                  folder=out / f"{spec.name}-{name}")
            _say(_imported(made))


def _peaks(spec: Any) -> Peaks:
    from costplan.profile.sanity import Peaks

    return Peaks(spec.peak_flops, spec.mem_bandwidth_bytes_per_s, spec.l2_bytes or _PLENTY_OF_L2_BYTES)


def _imported(made: Profile) -> str:
    dropped = sum(n for t in made.manifest.tables.values() for n in _refused(t.dropped).values())
    size = sum(f.stat().st_size for f in made.folder.iterdir())
    rows = sum(t.rows for t in made.manifest.tables.values())
    return f"{made.folder}: {rows} rows in {len(made.families)} families, {dropped} refused, {size / 1e6:.2f} MB"


def _refused(dropped: Any) -> dict[str, int]:
    """Rows that were not believed, without those that another version or an equal key replaced."""
    replaced = ("older_version", "duplicate_key")
    return {k: n for k, n in dropped.items() if k not in replaced and not k.startswith("other_")}


@app.command("list")
def list_command(as_json: _JsonFlag = False) -> None:
    """List the profiles that costplan finds."""
    from costplan.profile.store import list_profiles

    found = list_profiles()
    if as_json:
        _print_json([_listed(p) for p in found])
        return
    for folder in dict.fromkeys(p.folder.parent for p in found):
        typer.echo(f"\nin {folder}")
        _table(("profile", "rows", "collected"), [
            (p.name, "", f"unusable: {p.error}") if p.manifest is None else
            (p.name, f"{sum(t.rows for t in p.manifest.tables.values()):,}",
             " to ".join(p.manifest.collected) or "not recorded") for p in found if p.folder.parent == folder])


def _listed(p: Listed) -> dict[str, Any]:
    if p.manifest is None:
        return {"name": p.name, "folder": str(p.folder), "error": str(p.error)}
    return {"name": p.name, "folder": str(p.folder), "gpu": p.manifest.gpu, "engine": p.manifest.engine,
            "rows": {f: t.rows for f, t in p.manifest.tables.items()}, "collected": list(p.manifest.collected)}


@app.command("show")
def show(profile: Annotated[str, typer.Argument(help="Name or folder of a profile.")],
         as_json: _JsonFlag = False) -> None:
    """Show where a profile comes from and what it covers."""
    from dataclasses import asdict

    from costplan.profile.coverage import coverage
    from costplan.profile.raw_summary import summarise
    from costplan.profile.samples import read_samples
    from costplan.profile.store import Profile

    found = Profile.load(profile)
    groups = coverage(found)
    samples = read_samples(found)
    raw = None if samples is None else summarise(samples)
    if as_json:
        content = json.loads((found.folder / "manifest.json").read_text(encoding="utf-8"))
        _print_json({"manifest": content, "samples": raw and asdict(raw), "coverage": [
            {"family": g.family, **g.texts, "rows": g.rows, "hull": {k: list(v) for k, v in g.hull.items()}}
            for g in groups]})
        return
    _print_facts(found, raw)
    _table(("family", "format, kernel", "rows", "measured from .. to"), [
        (g.family, " ".join(g.texts.values()), f"{g.rows:,}",
         "  ".join(f"{k} {a}..{b}" if a != b else f"{k} {a}" for k, (a, b) in g.hull.items() if b)) for g in groups])


def _print_facts(found: Profile, raw: RawSummary | None) -> None:
    from costplan.report.profile_text import machine_facts, sample_facts

    m = found.manifest
    origin = " ".join(str(m.origin[k]) for k in ("tool", "package", "package_version") if m.origin.get(k))
    facts = [("profile", m.name), ("folder", str(found.folder)), ("gpu", f"{m.gpu} ({m.device or 'device unknown'})"),
             ("engine", m.engine), ("collected", " to ".join(m.collected) or "not recorded"),
             ("origin", origin or "not recorded"), ("licence", m.licence)]
    facts += [(f"version {k}", v or "not recorded") for k, v in m.versions.items()]
    facts += [(f"protocol {k}", str(v)) for k, v in m.protocol.items()]
    facts += machine_facts(m) + (sample_facts(raw) if raw else [])
    facts += [(f"dropped {f}", ", ".join(f"{k} {n:,}" for k, n in t.dropped.items()))
              for f, t in m.tables.items() if t.dropped]
    _table(("what", "value"), [*facts, *(("note", n) for n in m.notes)])


@app.command("verify")
def verify(profile: Annotated[str | None, typer.Argument(help="Name or folder; all profiles if absent.")] = None,
           as_json: _JsonFlag = False) -> None:
    """Check sums, schemas and values of one profile, or of all; tables against raw samples. Exit code 2 on damage."""
    from costplan.core.errors import CostplanError
    from costplan.profile.sample_check import check_samples
    from costplan.profile.samples import read_samples
    from costplan.profile.store import Profile, list_profiles

    checked: list[dict[str, Any]] = []
    for target in [profile] if profile else [str(p.folder) for p in list_profiles()]:
        entry: dict[str, Any] = {"profile": target, "tables": 0, "rows": 0, "rows_with_samples": 0, "error": None}
        try:
            found = Profile.load(target)
            for family in found.families:
                entry["rows"] += len(found.table(family) or ())
                entry["tables"] += 1
            samples = read_samples(found)
            if samples is not None:
                entry["rows_with_samples"] = check_samples(found, samples)
        except CostplanError as e:
            entry["error"], entry["hint"] = str(e), e.hint
        checked.append(entry)
    if as_json:
        _print_json(checked)
    else:
        for entry in checked:
            sys.stdout.write(_verdict(entry) + "\n")
    if any(entry["error"] for entry in checked):
        raise typer.Exit(2)


def _verdict(entry: dict[str, Any]) -> str:
    if entry["error"]:
        return f"BAD {entry['profile']}: {entry['error']}"
    return (f"ok  {entry['profile']}: manifest checksum, {entry['tables']} tables: SHA-256, schema, vocabulary and "
            f"value range of {entry['rows']:,} rows{_backed(entry)}")


def _backed(entry: dict[str, Any]) -> str:
    n = entry["rows_with_samples"]
    return f"; raw samples: SHA-256, and {n:,} rows equal the median of theirs" if n else ""


def _table(header: tuple[str, ...], rows: list[tuple[str, ...]]) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table as RichTable

    table = RichTable(*header, box=box.SIMPLE, pad_edge=False)
    for i, name in enumerate(header):
        table.columns[i].justify = "right" if name == "rows" else "left"
        table.columns[i].overflow = "fold"
        table.columns[i].no_wrap = name in ("profile", "gpu", "engine", "family")
    for row in rows:
        table.add_row(*row)
    Console(highlight=False, markup=False).print(table)


def _print_json(value: object) -> None:
    sys.stdout.write(json.dumps(value, indent=1, allow_nan=False) + "\n")


def _say(text: str) -> None:
    sys.stderr.write(text + "\n")
