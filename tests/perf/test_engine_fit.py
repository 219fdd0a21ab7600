"""The fit of engine terms: it finds factors that were put in, and its tables are those of the shipped model."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parents[2] / "benchmarks"))

from engine_cases import METRICS, TERMS, Case, cases, simulated
from engine_residuals import HeldOut, coverage, fitted, residual_rows
from engine_terms import Design, derivatives, predicted, solve, start

from costplan.perf.op_terms import KERNEL_TERMS
from costplan.perf.overhead import overhead
from costplan.validate.rows import read_rows
from costplan.validate.run import predict_row

HEAD = ("id,family,source,source_date,engine,engine_version,model,gpu,n_gpu,tp,pp,dp,ep,weight_dtype,kv_dtype,isl,osl,"
        "length_kind,load_kind,load_value,num_prompts,output_tok_s,ttft_mean_ms,tpot_mean_ms,engine_args,score_ttft,"
        "score_tpot,score_tput,notes\n")
ROW = ("{id},mine,here,2026-04,vllm,0.19.0,meta-llama/Llama-3.1-8B-Instruct,h100_sxm,1,1,1,1,1,fp8,auto,1024,128,fixed,"
       "concurrency,{clients},{prompts},1000,50,8,,1,1,1,\n")


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("fit") / "rows.csv"
    path.write_text(HEAD + "".join(ROW.format(id=f"r{n}", clients=n, prompts=4 * n) for n in (1, 4, 16, 64)))
    return path


@pytest.fixture(scope="module")
def items(table: Path) -> list[Case]:
    return cases(table)


def test_scaled_tables_are_the_shipped_model(table: Path, items: list[Case]) -> None:
    case, row = items[2], read_rows(table)[2]
    own = overhead(case.engine, case.since, launches=case.launches, traits=case.traits)
    terms = []
    for t in TERMS:
        if t == "launch_s":
            terms.append(own.eager_s / case.launches)
        elif hasattr(own, t):
            terms.append(getattr(own, t))
        else:
            name, _, size = t.partition("_") if t.startswith(("gemm", "experts")) else (t, "", "small")
            terms.append(own.factors[KERNEL_TERMS.index(name)][size == "large"])
    p = predict_row(row, str(table))
    expected = [p.ttft_s.value, p.tpot_s.value, p.output_tok_s.value]
    assert np.exp(simulated(case, np.log(terms))) == pytest.approx(expected, rel=0.01)


def test_a_slower_host_is_found(items: list[Case]) -> None:
    design = Design(items)
    true = np.zeros(len(design.sd))
    true[design.index["seq_s", ()]] = 1.5
    y = predicted(items, design.terms(true))
    theta = np.zeros_like(true)
    w = np.ones_like(y)
    for _ in range(3):
        terms = design.terms(theta)
        base, by_term = derivatives(items, terms)
        r = y - base + np.einsum("imk,ik->im", by_term, terms - start())
        theta = solve(design.spread(by_term), r, w, design.sd)
    before = np.abs(y - predicted(items, design.terms(np.zeros_like(true)))).max()
    after = np.abs(y - predicted(items, design.terms(theta))).max()
    assert after < 0.25 * before
    at = TERMS.index("seq_s")
    assert design.terms(theta)[0, at] - start()[at] > 0.5


def test_residual_scales_cover_what_they_promise() -> None:
    rng = np.random.default_rng(7)
    rows = [HeldOut(str(i), METRICS[i % 3], float(e), 0.05, "closed", "strong", bool(i % 2), f"cell {i % 40}")
            for i, e in enumerate(rng.standard_t(2.2, 3000) * 0.12)]
    one = fitted([r for r in rows if r.metric == "tpot"])
    assert 0.05 < one.log_sd < 0.2 and one.tail > 1
    for _, half, most in coverage(rows).values():
        assert 0.45 <= half <= 0.55 and 0.87 <= most <= 0.93
    assert {e["metric"] for e in residual_rows(rows)} == {"tpot", "ttft", "output_tok_s"}
