"""Claims as people write them: flags, YAML, CSV; and the reference table of measurements."""

from __future__ import annotations

import csv
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, field_validator

from costplan.catalog.gpus import gpu as find_gpu
from costplan.catalog.models import model as find_model
from costplan.core.dtypes import dtype
from costplan.core.errors import CostplanError, InputError
from costplan.core.units import GB
from costplan.core.yaml_door import KeyPath, YamlDocument, check, read_text, read_yaml
from costplan.validate.audit_claim import Claim
from costplan.workload.fields import Count, Door, Duration, Share, Text

MAX_CLAIMS = 100_000
MAX_CSV_BYTES = 64 << 20
_NUMBER = re.compile(r"[-+]?(\d[\d_]*\.?\d*|\.\d+)([eE][-+]?\d+)?\Z")
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([bBmM])\Z")

Number = Annotated[float, Field(gt=0, le=1e18)]


class ClaimFields(Door):
    """One claim. Rates and prices are of the whole deployment unless the name says otherwise."""

    name: Text | None = None
    source: Text | None = None
    model: Text | None = None
    gpu: Text | None = None
    num_gpus: Count | None = None
    replicas: Count = 1
    weights: Text | None = None
    kv: Text | None = None
    batch: Number | None = None
    concurrency: Number | None = None
    context: Number | None = None
    isl: Number | None = None
    osl: Number | None = None
    output_tok_s: Number | None = None
    total_tok_s: Number | None = None
    requests_per_s: Number | None = None
    ttft: Duration | None = None
    tpot: Duration | None = None
    e2e: Duration | None = None
    usd_per_h: Number | None = None
    usd_per_gpu_h: Number | None = None
    usd_per_mtok: Number | None = None
    usd_per_request: Number | None = None
    utilisation: Annotated[Share, Field(gt=0)] | None = None
    kv_budget_gb: Number | None = None
    requests_that_fit: Number | None = None
    weights_gb: Number | None = None
    gpu_memory_gb: Number | None = None
    mem_bandwidth_tb_s: Number | None = None
    peak_tflops: Number | None = None
    peak_dtype: Text = "bf16"
    mfu: Number | None = None
    mbu: Number | None = None
    score_matrix_gb: Number | None = None

    @field_validator("name", "source", "model", "weights", "kv", "gpu", mode="before")
    @classmethod
    def _text(cls, value: Any) -> Any:
        return str(value) if isinstance(value, int | float) and not isinstance(value, bool) else value


class ClaimsFile(Door):
    """A YAML file of claims."""

    claims: Annotated[list[ClaimFields], Field(min_length=1, max_length=MAX_CLAIMS)]


def read_claims(path: Path) -> list[Claim]:
    """Claims of a YAML or CSV file. Raises InputError with file, line and key."""
    doc = _csv_document(path) if path.suffix.lower() == ".csv" else read_yaml(path)
    fields = check(doc, ClaimsFile).claims
    return [claim_of(f, i + 1, partial(_place, doc, i)) for i, f in enumerate(fields)]


def _place(doc: YamlDocument, index: int, key: str) -> str:
    return doc.where(("claims", index, key))


def claim_of_flags(values: Mapping[str, Any]) -> Claim:
    """The claim of command-line flags. Raises InputError with the flag's name."""
    from pydantic import ValidationError

    given = {k: v for k, v in values.items() if v is not None}
    try:
        fields = ClaimFields.model_validate(given)
    except ValidationError as e:
        first = e.errors(include_url=False)[0]
        raise InputError(str(first["msg"]), where=f"--{str(first['loc'][0]).replace('_', '-')}",
                         hint=str((first.get("ctx") or {}).get("hint") or "") or None) from None
    return claim_of(fields, 1, lambda key: f"--{key.replace('_', '-')}")


def claim_of(f: ClaimFields, number: int, where: Callable[[str], str]) -> Claim:
    """Names looked up: the model in the catalogue, a config.json, or a size like 13B."""
    size = _SIZE.match(f.model.strip()) if f.model else None
    spec = None if f.model is None or size else find_model(f.model, where=where("model"))
    params = float(size[1]) * (1e9 if size[2] in "bB" else 1e6) if size else None
    gpu = None if f.gpu is None else find_gpu(f.gpu, where=where("gpu"))
    gpus = f.num_gpus or f.replicas
    if gpus % f.replicas:
        raise InputError(f"{gpus} GPUs do not make {f.replicas} equal replicas", where=where("replicas"))
    return Claim(
        name=f.name or f.source or f"claim {number}", spec=spec, params=params, gpu=gpu, num_gpus=gpus,
        replicas=f.replicas, weights=_format(f.weights, "weight dtype", where("weights")),
        kv=_format(f.kv, "KV dtype", where("kv")), batch=f.batch, concurrency=f.concurrency, context=f.context,
        isl=f.isl, osl=f.osl, output_tok_s=f.output_tok_s, total_tok_s=f.total_tok_s,
        requests_per_s=f.requests_per_s, ttft_s=f.ttft, tpot_s=f.tpot, e2e_s=f.e2e, usd_per_h=f.usd_per_h,
        usd_per_gpu_h=f.usd_per_gpu_h, usd_per_mtok=f.usd_per_mtok, usd_per_request=f.usd_per_request,
        utilisation=f.utilisation, kv_budget_bytes=_scaled(f.kv_budget_gb, GB), requests_that_fit=f.requests_that_fit,
        weight_bytes=_scaled(f.weights_gb, GB), gpu_mem_bytes=_scaled(f.gpu_memory_gb, GB),
        mem_bandwidth_bytes_per_s=_scaled(f.mem_bandwidth_tb_s, 1e12), peak_flops=_scaled(f.peak_tflops, 1e12),
        peak_dtype=_format(f.peak_dtype, "dtype", where("peak_dtype"), compute=True) or "bf16", mfu=f.mfu, mbu=f.mbu,
        score_matrix_bytes=_scaled(f.score_matrix_gb, GB))


def _scaled(value: float | None, unit: float) -> float | None:
    return None if value is None else value * unit


def _format(name: str | None, kind: str, where: str, *, compute: bool = False) -> str | None:
    if name is None or name in ("auto", "unknown"):
        return None
    if compute and name == "fp4":
        return name
    return dtype(name, kind=kind, where=where).name


def _csv_document(path: Path) -> YamlDocument:
    """A CSV with the names of `ClaimFields` in its first line, as the document that a YAML file would give."""
    lines = csv.reader(read_text(path, MAX_CSV_BYTES).splitlines(), strict=True)
    places: dict[KeyPath, tuple[int, int]] = {}
    claims: list[dict[str, Any]] = []
    try:
        names = [n.strip() for n in next(lines, [])]
        if len(set(names)) != len(names) or not all(names):
            raise InputError("a column has no name, or two have the same", where=f"{path}:1")
        for row in lines:
            if not any(cell.strip() for cell in row):
                continue
            if len(row) != len(names):
                raise InputError(f"{len(row)} fields, but the header has {len(names)}",
                                 where=f"{path}:{lines.line_num}", hint="quote fields that contain commas")
            i = len(claims)
            claims.append({n: _scalar(v) for n, v in zip(names, row, strict=True) if v.strip()})
            places |= {("claims", i, n): (lines.line_num, k + 1) for k, n in enumerate(names)}
            places["claims", i] = (lines.line_num, 1)
    except csv.Error as e:
        raise InputError(f"not a CSV: {e}", where=f"{path}:{lines.line_num}") from e
    if not claims:
        raise InputError("no claims", where=str(path), hint="a header line with field names, then one claim a line")
    return YamlDocument(str(path), {"claims": claims}, places)


def _scalar(cell: str) -> Any:
    text = cell.strip()
    if not _NUMBER.match(text):
        return text
    number = float(text.replace("_", ""))
    return int(number) if number.is_integer() and abs(number) < 1e15 else number


def is_reference_table(path: Path) -> bool:
    """Whether a CSV has the columns of measurements (docs/accuracy.md) instead of those of claims."""
    if path.suffix.lower() != ".csv":
        return False
    first = read_text(path, MAX_CSV_BYTES).split("\n", 1)[0]
    return {"load_kind", "engine", "isl"} <= {n.strip() for n in first.split(",")}


def read_measurements(path: Path) -> tuple[list[Claim], list[str]]:
    """The rows of a reference table as claims, and why rows could not become one."""
    from costplan.validate.audit_rows import measured_claim
    from costplan.validate.rows import read_rows

    claims, refused = [], []
    for row in read_rows(path):
        try:
            claims.append(measured_claim(row, str(path)))
        except CostplanError as e:
            refused.append(f"{row.id}: {e}")
    return claims, refused
