"""What a profile of one's own adds: pages, splits, the engine's kernel, cached context, uneven lengths, norms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.device_spec import read_spec
from costplan.catalog.gpus import forget_devices, gpu
from costplan.catalog.models import model
from costplan.core.evidence import Evidence
from costplan.perf.assemble import kernel_page, latency_model, sources_for
from costplan.perf.attention_kernel import AttentionShape, attention, reads_context
from costplan.perf.attention_rows import at_page, nearest_page, without_spare_splits
from costplan.perf.batch import BatchState
from costplan.perf.book import KernelBook
from costplan.perf.devices import add_device_of
from costplan.perf.elementwise_kernel import elementwise
from costplan.perf.engine_kernels import engine_rows, kernel_prefixes, rules
from costplan.perf.kernel_source import KernelSource
from costplan.perf.layout import Layout
from costplan.perf.ragged import slowdowns
from costplan.perf.step_parts import KernelStepParts
from costplan.profile.store import Profile
from costplan.profile.table import Table

from .. import own_profile as own  # noqa: TID252

CPU = read_spec(own.DEVICE, where="test")
SPEC = model("qwen3-0.6b")
POINT = (16, 1024)


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    forget_devices()
    yield
    forget_devices()


class Source:
    """A profile in memory."""

    def __init__(self, engine: str = "costplan", **replaced: Iterable[own.Row] | None) -> None:
        self.name = f"{engine} tables"
        self.engine = engine
        self._tables = {t.family: t for t in own.tables(**replaced)}

    def table(self, family: str) -> Table | None:
        return self._tables.get(family)


def kernels(source: Source, engine: str = "vllm") -> KernelSource:
    return KernelSource([source], CPU, CPU, kernel_prefixes(engine, CPU))


def shape(page_size: int = 0) -> AttentionShape:
    return AttentionShape(16, 8, 128, "bf16", 0, page_size)


@pytest.mark.parametrize("page", [16, 64, 128])
def test_rows_of_the_page_and_of_the_engines_kernel_answer(page: int) -> None:
    """Not the faster kernel that vLLM does not run, nor the faster split that nobody asked for."""
    timing = attention(kernels(Source()), shape(page), prefill=False).time(POINT)
    assert timing.seconds == pytest.approx(own.decode_s(*POINT) * own.PAGE_COST[page], rel=1e-6)
    assert timing.evidence is Evidence.MEASURED


@pytest.mark.parametrize(("asked", "answers"), [(16, 16), (20, 16), (32, 16), (48, 64), (256, 128), (1, 16)])
def test_the_nearest_page_by_ratio_stands_in(asked: int, answers: int) -> None:
    """Of two that are equally near the smaller, which is the slower."""
    table = Source().table("attn_decode")
    assert table is not None
    assert nearest_page(table, asked) == answers
    near = attention(kernels(Source()), shape(asked), prefill=False).time(POINT)
    exact = attention(kernels(Source()), shape(answers), prefill=False).time(POINT)
    assert near.seconds == exact.seconds
    assert (near.log_sd > exact.log_sd) == (asked != answers)


def test_a_contiguous_cache_stands_for_a_paged_one_only_where_nothing_else_was_measured() -> None:
    rows = Source(attn_decode=own.decode_rows((0, 64))).table("attn_decode")
    assert rows is not None
    assert nearest_page(rows, 0) == 0
    assert nearest_page(rows, 1) == 64
    only = Source(attn_decode=own.decode_rows((0,))).table("attn_decode")
    assert only is not None
    paged = at_page(only, 16, lambda _: lambda _: 1.0)
    assert len(paged.rows) == len(only)
    assert paged.log_sd == 0


@pytest.mark.parametrize("engine", ["costplan", "vllm"])
def test_with_rows_of_page_0_only_the_page_changes_nothing(engine: str) -> None:
    source = Source(engine, attn_decode=own.decode_rows((0,)), attn_ragged=None)
    times = [attention(kernels(source), shape(p), prefill=False).time(POINT) for p in (0, 1, 16, 64, 256)]
    assert len({(t.seconds, t.log_sd) for t in times}) == 1


def test_imported_tables_give_their_fastest_row_whatever_it_is_called() -> None:
    """They hold the engine's own kernels, at the engine's own pages and splits."""
    timing = attention(kernels(Source("vllm")), shape(16), prefill=False).time(POINT)
    assert timing.seconds == pytest.approx(own.decode_s(*POINT) / 3, rel=1e-6)


@given(st.floats(1.0, 3.0), st.floats(1.0, 3.0), st.integers(1, 64), st.integers(128, 8192))
def test_a_slower_page_never_lowers_decode_time(a: float, b: float, batch: int, kv_len: int) -> None:
    def seconds(cost: float) -> float:
        rows = [{**r, "latency_s": r["latency_s"] * (cost if r["page_size"] == 16 else 1.0)}
                for r in own.decode_rows()]
        source = Source(attn_decode=rows, gemm=None, attn_ragged=None)
        return attention(kernels(source), shape(16), prefill=False).seconds((batch, kv_len))

    low, high = sorted((a, b))
    assert seconds(low) <= seconds(high) * (1 + 1e-9)


@pytest.mark.parametrize("measured_at", [(4, 1024), (8, 3000)])
def test_a_page_measured_at_few_sizes_shifts_the_grid_of_another(measured_at: tuple[int, int]) -> None:
    """Page 16 was measured once, on the grid of page 128 or beside it; that grid then answers, 1.5 times as slow."""
    once = {**next(iter(own.decode_rows((16,)))), "batch": measured_at[0], "kv_len": measured_at[1],
            "latency_s": 1.5 * own.decode_s(*measured_at)}
    source = Source(attn_decode=[*own.decode_rows((128,)), once], attn_ragged=None)
    for point in ((4, 1024), (64, 8192), (1, 128)):
        timing = attention(kernels(source), shape(16), prefill=False).time(point)
        assert timing.seconds == pytest.approx(1.5 * own.decode_s(*point), rel=0.03)
        assert timing.evidence is Evidence.INTERPOLATED
        there = attention(kernels(source), shape(128), prefill=False).time(point)
        assert there.seconds == pytest.approx(own.decode_s(*point), rel=1e-6)
        assert there.evidence is Evidence.MEASURED


def test_without_automatic_splits_the_fastest_one_stands_in() -> None:
    rows = own.table("attn_decode", [{**r, "num_splits": r.get("num_splits", 0) or 2} for r in own.decode_rows((16,))])
    assert len(without_spare_splits(rows)) == len(rows)
    whole = own.table("attn_decode", list(own.decode_rows((16,))))
    assert set(without_spare_splits(whole).columns["num_splits"].tolist()) == {0}


def test_every_rule_about_kernels_has_a_source_and_other_engines_take_the_fastest() -> None:
    assert all(r["source"] and r["prefixes"] for r in rules())
    assert kernel_prefixes("vllm", gpu("h200_sxm"))[0] == "fa3-vllm"
    assert kernel_prefixes("sglang", gpu("h200_sxm")) == ("fa3",)
    assert kernel_prefixes("trtllm", gpu("h200_sxm")) == ()
    assert kernel_prefixes("vllm", CPU) == ("torch-cpu-paged",)
    rows = own.table("attn_decode", list(own.decode_rows()))
    assert set(engine_rows(rows, ("torch-cpu-paged",)).text("kernel")) == {"torch-cpu-paged"}
    assert len(engine_rows(rows, ("fa3",))) == len(rows)


# -- prompts after a cached context -----------------------------------------------------------------------------------


def test_chunks_after_a_context_are_read_from_their_own_rows() -> None:
    kernel = attention(kernels(Source()), shape(), prefill=True)
    assert reads_context(kernel)
    for point in ((1, 128, 128), (1, 128, 1152), (1, 1024, 9216), (4, 4096, 4096)):
        timing = kernel.time(point)
        assert timing.seconds == pytest.approx(own.prefill_s(*point), rel=1e-6)
        assert timing.evidence is Evidence.MEASURED
    between = kernel.time((1, 512, 4608))
    assert between.seconds == pytest.approx(own.prefill_s(1, 512, 4608), rel=0.1)
    assert between.evidence is Evidence.INTERPOLATED


def test_other_batches_of_chunks_follow_the_fresh_prompts() -> None:
    kernel = attention(kernels(Source()), shape(), prefill=True)
    assert kernel.time((4, 1024, 9216)).seconds == pytest.approx(own.prefill_s(4, 1024, 9216), rel=0.02)
    assert kernel.time((4, 1024, 9216)).evidence is Evidence.INTERPOLATED


@pytest.mark.parametrize("batch", [1, 3, 4])
@pytest.mark.parametrize("q_len", [64, 1024])
def test_a_little_context_costs_a_little(batch: int, q_len: int) -> None:
    """No step between a fresh prompt and the shortest context that was measured."""
    kernel = attention(kernels(Source()), shape(), prefill=True)
    fresh, little = kernel.seconds((batch, q_len)), kernel.seconds((batch, q_len, q_len + 1))
    assert kernel.seconds((batch, q_len, q_len)) == fresh
    assert little == pytest.approx(fresh, rel=0.02)
    later = (batch, q_len, q_len + 700)
    assert kernel.time(later).seconds == pytest.approx(kernel.seconds(later), rel=1e-12)


def test_without_such_rows_a_chunk_is_mapped_to_an_equal_square_as_before() -> None:
    for source in (Source(attn_prefill=own.prefill_rows((0,))), Source("vllm"), Source(attn_prefill=None)):
        assert not reads_context(attention(kernels(source), shape(), prefill=True))


def test_many_short_prompts_at_once_are_answered_with_doubt() -> None:
    kernel = attention(kernels(Source()), shape(), prefill=True)
    timing = kernel.time((1024, 16, 16))
    assert timing.evidence is Evidence.EXTRAPOLATED
    assert timing.log_sd > 0.3
    assert timing.seconds == kernel.seconds((1024, 16, 16))


# -- uneven lengths ---------------------------------------------------------------------------------------------------


def test_the_slowdown_of_ragged_batches_is_what_was_measured() -> None:
    source = Source()
    decode, prompts = slowdowns(kernels(source), source, shape(128))
    assert decode is not None
    assert prompts is not None
    assert math.exp(decode.at(16)) == pytest.approx(own.RAGGED_COST, rel=0.05)
    assert math.exp(prompts.at(1)) == pytest.approx(own.RAGGED_COST, rel=0.05)


@given(st.floats(0.7, 2.0), st.integers(1, 256))
def test_no_slowdown_lies_below_the_measured_one_nor_below_none(cost: float, batch: int) -> None:
    source = Source(attn_ragged=own.ragged_rows(cost), gemm=None)
    decode, prompts = slowdowns(kernels(source), source, shape(128))
    assert decode is not None
    assert prompts is not None
    for found in (decode, prompts):
        assert found.at(batch) >= 0.0
        assert found.at(batch) >= math.log(cost) - 0.06  # the grid between its points, not the rule
        assert found.sd_at(batch) > 0


def test_a_book_multiplies_attention_only_where_ragged_batches_were_measured() -> None:
    with_rows, without = (KernelBook([s], CPU, CPU, prefixes=("torch-cpu-paged",))
                          for s in (Source(), Source(attn_ragged=None)))
    a, b = (book.attn_decode(shape(128)).time(POINT) for book in (with_rows, without))
    assert a.seconds == pytest.approx(own.RAGGED_COST * b.seconds, rel=0.05)
    assert a.log_sd > b.log_sd
    assert a.seconds == pytest.approx(with_rows.attn_decode(shape(128)).seconds(POINT))
    c, d = (book.attn_prefill(shape(128)) for book in (with_rows, without))
    assert reads_context(c)
    assert c.seconds((1, 1024, 2048)) == pytest.approx(own.RAGGED_COST * d.seconds((1, 1024, 2048)), rel=0.05)


# -- element-wise -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "parts"), [("norm", {"norm": 1024}), ("act_mul", {"act_mul": 4096}),
                                             ("rope_kv_write", {"rope": 2048, "kv_write": 2048}),
                                             ("sampling", {"sampling": 151936})])
def test_measured_element_wise_kernels_replace_the_analytic_one(name: str, parts: dict[str, int]) -> None:
    size = {"norm": 8, "act_mul": 6, "rope": 4, "kv_write": 4, "sampling": 16}
    found = elementwise(kernels(Source()), name, 1.0, tuple(parts.items()))
    assert [k.name for k in found] == list(parts)
    for kernel in found:
        took = kernel.time((256,))
        assert took.evidence is Evidence.MEASURED
        streamed = 2.0 * 256 * parts[kernel.name] * size[kernel.name] / own.BANDWIDTH + own.LAUNCH_S
        assert took.seconds == pytest.approx(streamed, rel=1e-6)


def test_where_a_part_was_not_measured_the_analytic_kernel_stays() -> None:
    rows = [r for r in own.elementwise_rows() if r["op"] != "kv_write"]
    for source in (Source(elementwise=rows), Source(elementwise=None), Source("vllm")):
        found = elementwise(kernels(source), "rope_kv_write", 100.0, (("rope", 2048), ("kv_write", 2048)))
        assert [k.name for k in found] == ["rope_kv_write"]
        assert found[0].time((64,)).evidence is Evidence.ANALYTIC


def test_a_plain_norm_stands_for_one_with_a_residual_with_more_doubt() -> None:
    rows = [{**r, "op": "rms_norm", "latency_s": 2.0 * r["m"] * r["k"] * 4 / own.BANDWIDTH + 1e-6}
            for r in own.elementwise_rows() if r["op"] == "add_rms_norm"]
    (found,) = elementwise(kernels(Source(elementwise=rows)), "norm", 8192.0, (("norm", 1024),))
    took = found.time((4096,))
    assert took.seconds == pytest.approx(2.0 * 4096 * 1024 * 8 / own.BANDWIDTH, rel=0.05)
    assert took.log_sd > 0.1


# -- the narrow waist -------------------------------------------------------------------------------------------------


def test_the_candidates_page_reaches_the_step_time(tmp_path: Path) -> None:
    profile = own.write(tmp_path / "cpu_x-costplan", attn_ragged=None)
    decode = BatchState(decode_seqs=16, decode_kv_tokens=16 * 1024)

    def attention_s(block_size: int | None) -> float:
        m = latency_model(SPEC, CPU, Layout(), engine="vllm", profile=profile, block_size=block_size)
        return m.step(decode).parts["attention"]

    assert attention_s(16) == pytest.approx(attention_s(128) * 1.5, rel=2e-3)  # tables are rounded on disk
    assert attention_s(None) == attention_s(128)  # vLLM's default on a CPU


def test_parts_add_up_to_a_step_with_measured_chunks(tmp_path: Path) -> None:
    m = latency_model(SPEC, CPU, Layout(), engine="vllm", profile=own.write(tmp_path / "cpu_x-costplan"))
    parts = KernelStepParts(m)
    batch = BatchState(8, 8 * 900, 512, 2048, 2)
    together = (parts.tokens_s(520) + parts.seqs_s(10) + parts.decode_s(8, 7200) + parts.prefill_s(2, 512, 2048)
                + parts.host_s(10))
    assert together == pytest.approx(m.step_s(batch), rel=1e-9)
    assert m.step(batch).parts.get("collective") is None


def test_a_longer_context_costs_a_chunk_more(tmp_path: Path) -> None:
    m = latency_model(SPEC, CPU, Layout(), engine="vllm", profile=own.write(tmp_path / "cpu_x-costplan"))
    times = [m.step_s(BatchState(0, 0, 512, past, 1)) for past in (0, 512, 1024, 4096, 8192, 32768)]
    assert times == sorted(times)


def test_shipped_gpus_do_not_see_pages() -> None:
    decode = BatchState(decode_seqs=16, decode_kv_tokens=16 * 1024)
    spec = model("meta-llama/Llama-3.1-8B-Instruct")
    times = {latency_model(spec, gpu("h100_sxm"), Layout(), engine="vllm", block_size=b).step_s(decode)
             for b in (None, 16, 64, 256)}
    assert len(times) == 1


# -- which profile answers first ------------------------------------------------------------------------------------


@pytest.fixture
def beside_shipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Profile:
    """A profile of one's own of a GPU that has imported tables, in the search path."""
    made = own.write(tmp_path / "mine", {}, "h100_sxm")  # a device of the catalogue needs no description
    monkeypatch.setenv("COSTPLAN_PROFILES", str(tmp_path))
    return made


def test_on_a_gpu_with_imported_tables_they_lead_and_ones_own_follow(beside_shipped: Profile) -> None:
    h100 = gpu("h100_sxm")
    names = [p.name for p in sources_for(h100, "sglang").profiles]
    assert names == ["h100_sxm-sglang", "h100_sxm-vllm", "h100_sxm-trtllm", "mine"]
    assert sources_for(h100, "vllm", beside_shipped).profiles[0].name == "mine"
    assert kernel_page(sources_for(h100, "vllm"), h100, "vllm") == 16
    assert kernel_page(sources_for(gpu("h200_sxm"), "vllm"), gpu("h200_sxm"), "vllm", 64) == 0


def test_a_cpu_stands_in_for_cpus_only_and_a_gpu_for_gpus(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    add_device_of(own.write(tmp_path / "cpu_x-costplan"))
    monkeypatch.setenv("COSTPLAN_PROFILES", str(tmp_path))
    other = read_spec({**own.DEVICE, "name": "cpu_other"}, where="x")
    for wanted in (gpu("mi300x"), other):
        found = sources_for(wanted, "vllm").measured_on
        assert found is not None
        assert found.is_cpu == wanted.is_cpu
