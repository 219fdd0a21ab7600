"""`costplan audit`: the cases it must get right, its laws, and its rates on published rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import CostplanError
from costplan.report.audit_text import audit_json, audit_text
from costplan.report.style import Style
from costplan.validate.audit import Audit, audit
from costplan.validate.audit_file import ClaimFields, claim_of_flags, read_claims, read_measurements
from costplan.validate.audit_finding import Verdict
from costplan.validate.audit_limits import table

V = Verdict


def judged(**said: Any) -> Audit:
    return audit(claim_of_flags(said))


def finding(a: Audit, check: str) -> tuple[Verdict, list[float]]:
    (found,) = [f for f in a.findings if f.check == check]
    return found.verdict, [x.value for x in found.amounts]


def test_a_13b_model_does_not_stream_55k_tokens_a_second_from_an_a100() -> None:
    a = judged(model="llama-2-13b", weights="fp16", gpu="a100_40gb_sxm", batch=8, context=2048, output_tok_s=55_000,
               usd_per_mtok=0.10)
    assert a.verdict is V.IMPOSSIBLE
    verdict, (_, bound, _) = finding(a, "decode rate")
    assert verdict is V.IMPOSSIBLE
    # by hand: (25.7 GB of weights + 8 x 2048 x 40 layers x 2 x 5120 x 2 bytes) / 1.555 TB/s a step, 8 tokens each
    assert bound == pytest.approx(8 / ((25.70e9 + 8 * 2048 * 819_200) / 1.555e12), rel=0.01)
    verdict, (per_gpu, _, highest) = finding(a, "price of a GPU")
    assert (verdict, round(per_gpu, 1)) == (V.IMPLAUSIBLE, 19.8)
    assert highest < 10


def test_a_model_known_by_its_size_is_bound_by_its_weights() -> None:
    a = judged(model="13B", weights="fp16", gpu="a100_40gb_sxm", batch=8, output_tok_s=55_000)
    assert finding(a, "decode rate")[1][1] == pytest.approx(8 * 1.555e12 / 26e9)


def test_all_layers_count_in_a_kv_budget() -> None:
    a = judged(model="llama-3.1-8b", kv_budget_gb=40, requests_that_fit=2500, context=4096)
    assert finding(a, "KV budget") == (V.IMPOSSIBLE, [2500, 2500 * 4096 * 131_072, 74])
    assert "layers" in audit_text([a], Style(200))
    assert judged(model="llama-3.1-8b", kv_budget_gb=40, requests_that_fit=74, context=4096).verdict is V.PLAUSIBLE


def test_an_hour_has_3600_seconds() -> None:
    a = judged(requests_per_s=300, usd_per_h=2.3, usd_per_request=0.007)
    assert a.verdict is V.INCONSISTENT
    assert finding(a, "cost per request")[1][1] == pytest.approx(2.3 / 3600 / 300)
    assert "hours taken for seconds" in audit_text([a], Style(200))


def test_a_score_matrix_is_mebibytes() -> None:
    a = judged(context=4096, score_matrix_gb=64)
    assert a.verdict is V.INCONSISTENT
    assert "MiB read as GB" in audit_text([a], Style(200))
    assert judged(context=4096, score_matrix_gb=0.067).verdict is V.PLAUSIBLE
    assert judged(context=4096, model="llama-3.1-8b", score_matrix_gb=2.1).verdict is V.PLAUSIBLE  # 32 heads


@pytest.mark.parametrize(("said", "verdict"), [
    ({"gpu": "h100", "mem_bandwidth_tb_s": 3.65}, V.IMPOSSIBLE),
    ({"gpu": "h100_sxm", "mem_bandwidth_tb_s": 3.35}, V.PLAUSIBLE),
    ({"gpu": "h100_sxm", "mem_bandwidth_tb_s": 2.0}, V.INCONSISTENT),
    ({"gpu": "h100_sxm", "gpu_memory_gb": 80}, V.PLAUSIBLE),
    ({"gpu": "h100_sxm", "peak_tflops": 1979}, V.IMPOSSIBLE),
    ({"gpu": "h100_sxm", "peak_tflops": 1979, "peak_dtype": "fp8"}, V.PLAUSIBLE),
    ({"gpu": "a100_80gb_sxm", "peak_tflops": 624, "peak_dtype": "fp8"}, V.IMPOSSIBLE),
    ({"mfu": 1.2}, V.IMPOSSIBLE), ({"mfu": 0.9}, V.IMPLAUSIBLE), ({"mfu": 0.5}, V.PLAUSIBLE),
    ({"mbu": 1.01}, V.IMPOSSIBLE),
    ({"model": "llama-3.1-70b", "gpu": "h100_sxm", "tpot": "30ms"}, V.IMPOSSIBLE),  # 141 GB in 80
    ({"model": "llama-3.1-8b", "gpu": "h100_sxm", "tpot": "4ms"}, V.IMPOSSIBLE),  # 15 GB take 4.5 ms
    ({"model": "llama-3.1-8b", "gpu": "h100_sxm", "tpot": "4.6ms"}, V.IMPLAUSIBLE),
    ({"model": "llama-3.1-8b", "gpu": "h100_sxm", "tpot": "7ms"}, V.PLAUSIBLE),
    ({"model": "llama-3.1-8b", "gpu": "h100_sxm", "isl": 8000, "ttft": "100ms"}, V.IMPOSSIBLE),
    ({"model": "llama-3.1-8b", "weights_gb": 16}, V.PLAUSIBLE),
    ({"model": "llama-3.1-8b", "weights_gb": 32}, V.INCONSISTENT),
    ({"usd_per_h": 3.6, "output_tok_s": 1000, "usd_per_mtok": 1.0}, V.PLAUSIBLE),
    ({"usd_per_h": 3.6, "output_tok_s": 1000, "usd_per_mtok": 0.1}, V.INCONSISTENT),
    ({"usd_per_h": 3.6, "output_tok_s": 1000, "usd_per_mtok": 4.0}, V.INCONSISTENT),
    ({"usd_per_h": 3.6, "output_tok_s": 1000, "usd_per_mtok": 4.0, "utilisation": 0.25}, V.PLAUSIBLE),
    ({"gpu": "h100_sxm", "usd_per_gpu_h": 0.1}, V.IMPLAUSIBLE),
    ({"ttft": "2s", "e2e": "1s"}, V.INCONSISTENT),
    ({"ttft": "1s", "tpot": "10ms", "osl": 101, "e2e": "2s"}, V.PLAUSIBLE),
    ({"concurrency": 512, "output_tok_s": 4347, "osl": 281, "ttft": "4.07s", "tpot": "25.9ms"}, V.INCONSISTENT),
    ({"batch": 4, "output_tok_s": 1000, "tpot": "10ms"}, V.INCONSISTENT),  # needs 10 sequences
    ({"requests_per_s": 10, "osl": 100, "output_tok_s": 5000}, V.INCONSISTENT),
    ({"isl": 900, "osl": 100, "output_tok_s": 100, "total_tok_s": 1000}, V.PLAUSIBLE),
    ({"output_tok_s": 100}, V.CANNOT_TELL), ({"usd_per_mtok": 1}, V.CANNOT_TELL)])
def test_verdicts(said: dict[str, Any], verdict: Verdict) -> None:
    assert judged(**said).verdict is verdict


def test_what_would_tell_more_is_named() -> None:
    assert any("GPU" in m for m in judged(output_tok_s=100).missing)


@given(st.floats(1, 1e6), st.floats(1.01, 10))
def test_a_faster_claim_is_never_more_plausible(tok_s: float, factor: float) -> None:
    order = list(V)
    slow, fast = (judged(model="llama-3.1-8b", gpu="h100_sxm", batch=64, isl=1000, osl=200, output_tok_s=x)
                  for x in (tok_s, tok_s * factor))
    assert order.index(fast.verdict) <= order.index(slow.verdict)


@given(st.floats(1e-5, 10), st.integers(1, 8))
def test_more_gpus_never_make_a_latency_less_plausible(tpot_s: float, gpus: int) -> None:
    order = list(V)
    few, many = (judged(model="llama-3.1-8b", gpu="h100_sxm", num_gpus=n, tpot=f"{tpot_s:.9f}s")
                 for n in (gpus, gpus * 2))
    assert order.index(few.verdict) <= order.index(many.verdict)


def test_physics_is_found_in_published_rows_and_good_rows_pass(shared: Path) -> None:
    bad, bad_refused = read_measurements(shared / "truth" / "rejected_physics.csv")
    good, good_refused = read_measurements(shared / "truth" / "tune.csv")
    assert not bad_refused
    assert not good_refused
    assert sum(audit(c).flagged for c in bad) == len(bad) == 52
    assert sum(audit(c).flagged for c in good) / len(good) < 0.01


def test_limits_lie_a_tenth_above_the_best_that_was_measured() -> None:
    for name, row in table().items():
        if isinstance(row, dict) and name not in ("memory_share", "little_low", "little_high"):
            assert row["limit"] == pytest.approx(1.1 * row["best"], abs=0.011), name


CSV = "name,model,gpu,output_tok_s,batch,tpot\na,llama-3.1-8b,h100_sxm,2400,32,9ms\nb,13B,h100_sxm,1e6,32,\n"


def test_claims_from_csv_and_yaml_are_the_same(tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(CSV, encoding="utf-8")
    (tmp_path / "c.yaml").write_text(
        "claims:\n- {name: a, model: llama-3.1-8b, gpu: h100_sxm, output_tok_s: 2400, batch: 32, tpot: 9ms}\n"
        "- {name: b, model: 13B, gpu: h100_sxm, output_tok_s: 1e6, batch: 32}\n", encoding="utf-8")
    assert read_claims(tmp_path / "c.csv") == read_claims(tmp_path / "c.yaml")


@pytest.mark.parametrize(("text", "said"), [
    (CSV.replace("h100_sxm", "h10_sxm"), ":2: unknown GPU 'h10_sxm'"), (CSV.replace("batch", "bach"), "unknown key"),
    (CSV.replace("9ms", "9"), "tpot"), (CSV.replace("llama-3.1-8b", "llama-9"), "unknown model"),
    (CSV.replace("2400", "-1"), "output_tok_s"), (CSV.replace(",32,\n", "\n"), "fields"), ("name\n", "no claims"),
    ("", "no"), ("a,a\n1,2\n", "same")])
def test_a_bad_file_says_where(text: str, said: str, tmp_path: Path) -> None:
    (tmp_path / "c.csv").write_text(text, encoding="utf-8")
    with pytest.raises(CostplanError) as e:
        read_claims(tmp_path / "c.csv")
    assert said in str(e.value)
    assert "c.csv" in str(e.value)


@given(st.text(max_size=300) | st.lists(st.sampled_from(
    [*ClaimFields.model_fields, ",", "\n", '"', "8b", "1", "nan", "1e400", "h100_sxm", "9ms"])).map("".join))
def test_no_file_breaks_the_reader(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    for suffix in ("csv", "yaml"):
        path = tmp_path_factory.mktemp("c") / f"c.{suffix}"
        path.write_text(text, encoding="utf-8")
        try:
            found = [audit(c) for c in read_claims(path)]
        except CostplanError:
            continue
        assert audit_text(found, Style())
        assert audit_json(found, [], "0")
