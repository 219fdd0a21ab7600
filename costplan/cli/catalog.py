"""`costplan catalog`: what is known about GPUs, models and prices, with sources and ages."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from costplan.catalog.model_spec import ModelSpec
    from costplan.report.catalog_text import ModelView

app = typer.Typer(help="GPUs, models and prices: what is known, from where, how old.", no_args_is_help=True)

Json = Annotated[bool, typer.Option("--json", help="JSON: bytes, bytes/s, FLOP/s, USD.")]
Output = Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")]


@app.command()
def gpus(name: Annotated[str | None, typer.Argument(help="One GPU, with all its fields and sources.")] = None,
         as_json: Json = False, output: Output = None) -> None:
    """GPUs: memory, bandwidth, dense peaks, links; every number has a source."""
    from costplan.catalog.gpus import gpu, gpu_name_note, search_elsewhere
    from costplan.catalog.gpus import gpus as all_gpus
    from costplan.cli.output import emit, emit_json, style, warn
    from costplan.profile.store import list_profiles
    from costplan.report.catalog_json import gpu_json
    from costplan.report.catalog_text import gpu_text, gpus_text

    measured = frozenset(p.manifest.gpu for p in list_profiles() if p.manifest)
    search_elsewhere()
    if name is not None:
        spec = gpu(name)
        warn([note] if (note := gpu_name_note(name)) else [])
        if as_json:
            emit_json(gpu_json(spec, measured=spec.name in measured), output)
        else:
            emit(gpu_text(spec, style(output)), output)
    elif as_json:
        emit_json([gpu_json(g, measured=g.name in measured) for g in all_gpus().values()], output)
    else:
        emit(gpus_text(all_gpus().values(), measured, style(output)), output)


@app.command()
def models(name: Annotated[str | None, typer.Argument(help="Model name, part of names, or path of a "
                                                           "config.json (file or folder).")] = None,
           as_json: Json = False, output: Output = None) -> None:
    """Models: parameters, attention, KV bytes per token; reads a config.json too."""
    from costplan.catalog.models import builtin_models, canonical_name, model
    from costplan.cli.output import emit, emit_json, style
    from costplan.report.catalog_json import model_json
    from costplan.report.catalog_text import model_text, models_text

    known = builtin_models()
    matching = [n for n in known if name is not None and name.lower() in n.lower()]
    exact = name is not None and (canonical_name(name) is not None or Path(name).exists() or not matching)
    if name is not None and exact:
        one = _view(model(name))
        if as_json:
            emit_json(model_json(one), output)
        else:
            emit(model_text(one, style(output)), output)
        return
    views = [_view(known[n]) for n in (matching or known)]
    if as_json:
        emit_json([model_json(v) for v in views], output)
    else:
        emit(models_text(views, style(output)), output)


def _view(spec: ModelSpec) -> ModelView:
    from costplan.catalog.models import aliases, builtin_models
    from costplan.catalog.params import count
    from costplan.perf.kv import checkpoint_kv_dtype, kv_bytes_per_token, state_bytes_per_sequence
    from costplan.report.catalog_text import ModelView

    kv_dtype = checkpoint_kv_dtype(spec, None, None)
    names = aliases(spec.name) if spec.name in builtin_models() else ()
    return ModelView(spec, count(spec), kv_dtype, kv_bytes_per_token(spec, kv_dtype), state_bytes_per_sequence(spec),
                     names)


@app.command()
def prices(
    gpu: Annotated[str | None, typer.Option("--gpu", "-g", help="Only of this GPU.")] = None,
    provider: Annotated[str | None, typer.Option(help="Only of this provider.")] = None,
    region: Annotated[str | None, typer.Option(help="Only in this region.")] = None,
    purchase: Annotated[str | None, typer.Option(help="on_demand, spot, 1y or 3y.")] = None,
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Lines of text; JSON has all.")] = 40,
    as_json: Json = False, output: Output = None,
) -> None:
    """List prices, cheapest per GPU first, each with its age; over 90 days old is stale."""
    from datetime import date

    from costplan.catalog.prices import find_prices, purchase_name
    from costplan.cli.output import emit, emit_json, style
    from costplan.report.catalog_json import price_json
    from costplan.report.catalog_text import PriceView, prices_text

    kind = purchase_name(purchase, where="--purchase") if purchase is not None else None
    today = date.today()
    views = [PriceView(p, None if p.price_date is None else (today - p.price_date).days, p.is_stale(today))
             for p in find_prices(gpu, provider, region, kind)]
    if as_json:
        emit_json([price_json(v) for v in views], output)
    else:
        emit(prices_text(views[:limit], len(views), style(output)), output)
