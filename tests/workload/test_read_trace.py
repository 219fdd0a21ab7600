"""Every trace format, and what is said of each thing that can be wrong in one."""

from __future__ import annotations

import gzip
import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import CostplanError, InputError
from costplan.workload.read_trace import read_trace
from costplan.workload.trace import Trace
from costplan.workload.trace_rows import ReadOptions

AZURE = "TIMESTAMP,ContextTokens,GeneratedTokens\n"
BURST = "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"


def write(tmp_path: Path, text: str | bytes, name: str = "t.csv") -> Path:
    path = tmp_path / name
    path.write_bytes(text.encode() if isinstance(text, str) else text)
    return path


def read(tmp_path: Path, text: str | bytes, **options: object) -> Trace:
    return read_trace(write(tmp_path, text), ReadOptions(**options))  # type: ignore[arg-type]


def refuse(tmp_path: Path, text: str | bytes, **options: object) -> InputError:
    with pytest.raises(InputError) as e:
        read(tmp_path, text, **options)
    return e.value


def mooncake(*rows: tuple[int, int, int, list[int]], **more: object) -> str:
    return "".join(json.dumps({"timestamp": t, "input_length": i, "output_length": o, "hash_ids": h} | more) + "\n"
                   for t, i, o, h in rows)


def test_azure_keeps_seven_decimals(tmp_path: Path) -> None:
    t = read(tmp_path, AZURE + "2023-11-16 23:59:59.9999999,374,44\n2023-11-17 00:00:00.0000001,396,109\n")
    assert t.format == "azure" and t.arrival_s is not None
    assert t.arrival_s.tolist() == pytest.approx([0, 2e-7], abs=1e-9)
    assert t.isl.tolist() == [374, 396] and t.osl.tolist() == [44, 109] and t.hash_ids is None


def test_azure_2024_times_have_a_zone(tmp_path: Path) -> None:
    t = read(tmp_path, AZURE + "2024-05-10 00:00:00.009930+00:00,2162,5\n2024-05-10 00:00:01.009930+00:00,2399,6\n")
    assert t.span_s == pytest.approx(1.0)


def test_mooncake_is_milliseconds_and_bailian_seconds(tmp_path: Path) -> None:
    t = read(tmp_path, mooncake((1000, 600, 5, [0, 1]), (4000, 512, 6, [0])))
    assert (t.format, t.block_tokens, t.span_s) == ("mooncake", 512, 3.0)
    assert t.hash_ids is not None and t.hash_offsets is not None
    assert t.hash_ids.tolist() == [0, 1, 0] and t.hash_offsets.tolist() == [0, 2, 3]
    t = read(tmp_path, mooncake((1, 30, 5, [0, 1]), (4, 16, 6, [0]), chat_id=1, parent_chat_id=-1, turn=1, type="text"))
    assert (t.format, t.block_tokens, t.span_s) == ("bailian", 16, 3.0)
    t = read(tmp_path, mooncake((1, 600, 5, [0, 1]), (4, 512, 6, [0])), time_unit="s")
    assert t.span_s == 3.0


def test_bailian_blocks_under_mooncake_keys_are_found_out(tmp_path: Path) -> None:
    error = refuse(tmp_path, mooncake(*((i, 1600, 5, list(range(100))) for i in range(5))))
    assert "not blocks of 512 tokens" in error.message and "--format bailian" in str(error.hint)
    error = refuse(tmp_path, mooncake(*((i, 1600, 5, list(range(25))) for i in range(5))))
    assert "--block-tokens 64" in str(error.hint)


def test_burstgpt_drops_and_counts_failures(tmp_path: Path) -> None:
    t = read(tmp_path, BURST + "5,ChatGPT,472,18,490,Conversation log\n45,ChatGPT,1087,0,1087,API log\n"
                               "118,GPT-4,417,276,693,Conversation log\n")
    assert (t.format, len(t), t.span_s, t.dropped) == ("burstgpt", 2, 113.0, {"0 output tokens": 1})


@pytest.mark.parametrize(("header", "unit"), [("arrival_ms", 1e-3), ("arrival_s", 1.0), ("arrival_us", 1e-6)])
def test_a_unit_in_the_columns_name_is_enough(tmp_path: Path, header: str, unit: float) -> None:
    text = f"{header},prompt_tokens,completion_tokens\n0,1,2\n7,3,4\n"
    t = read(tmp_path, text)
    assert t.span_s == pytest.approx(7 * unit)


def test_named_columns_and_units(tmp_path: Path) -> None:
    text = "a,b,c\n100,5,6\n300,7,8\n"
    t = read(tmp_path, text, columns={"timestamp": "a", "isl": "b", "osl": "c"}, time_unit="ms")
    assert t.span_s == pytest.approx(0.2) and t.isl.tolist() == [5, 7]
    assert read(tmp_path, text, columns={"isl": "b", "osl": "c"}).arrival_s is None


def test_jsonl_with_named_keys(tmp_path: Path) -> None:
    text = '{"t": 1, "input_tokens": 20, "output_tokens": 3, "hash_ids": [7]}\n\n{"t": 2, "input_tokens": 9, ' \
           '"output_tokens": 3, "hash_ids": []}\n'
    t = read(tmp_path, text, time_unit="s", block_tokens=32)
    assert t.format == "jsonl" and t.hash_offsets is not None and t.hash_offsets.tolist() == [0, 1, 1]
    assert "--block-tokens" in str(refuse(tmp_path, text, time_unit="s").hint)


def test_gz_and_bom_are_transparent(tmp_path: Path) -> None:
    text = b"\xef\xbb\xbf" + (AZURE + "2023-11-16 18:15:46,374,44\n").encode()
    assert len(read(tmp_path, gzip.compress(text))) == 1


def test_sorting_keeps_rows_together(tmp_path: Path) -> None:
    text = mooncake((4000, 600, 5, [0, 1]), (1000, 512, 6, [2]), (1000, 513, 7, [2, 3]))
    error = refuse(tmp_path, text)
    assert error.where and error.where.endswith(":2") and "--sort" in str(error.hint)
    t = read(tmp_path, text, sort=True)
    assert t.arrival_s is not None and t.hash_ids is not None and t.hash_offsets is not None
    assert t.arrival_s.tolist() == [0, 0, 3] and t.isl.tolist() == [512, 513, 600]
    assert t.hash_ids.tolist() == [2, 2, 3, 0, 1] and t.hash_offsets.tolist() == [0, 1, 3, 5]


def test_parquet(tmp_path: Path) -> None:
    pa = pytest.importorskip("pyarrow")
    pq = pytest.importorskip("pyarrow.parquet")
    table = pa.table({"arrival_s": [0.0, 2.5], "isl": [10, 20], "osl": [3, 4], "hash_ids": [[1], [1, 2]]})
    path = tmp_path / "t.bin"
    pq.write_table(table, path)
    t = read_trace(path, ReadOptions(block_tokens=10))
    assert (t.format, t.span_s) == ("parquet", 2.5) and t.hash_ids is not None and t.hash_ids.tolist() == [1, 1, 2]
    with pytest.raises(InputError, match="block size"):
        read_trace(path)
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="not a readable parquet"):
        read_trace(path)
    import datetime as dt

    pq.write_table(pa.table({"timestamp": [dt.datetime(2024, 1, 1), dt.datetime(2024, 1, 1, 0, 0, 1, 500)],
                             "isl": [1, None], "osl": [1, 1]}), path)
    with pytest.raises(InputError, match="input tokens: nothing"):
        read_trace(path)


@pytest.mark.parametrize(("text", "line", "says", "hint"), [
    ("", None, "empty", ""),
    ("\n\n", None, "empty", ""),
    (AZURE, None, "no requests", "only a header"),
    (AZURE + "2023-11-16 18:15:46,374,0\n", 2, "0 output tokens", "--drop-failed"),
    (AZURE + "2023-11-16 18:15:46,0,5\n", 2, "0 input tokens", ""),
    (AZURE + "2023-11-16 18:15:46,3,5\n2023-11-16 18:15:45,3,5\n", 3, "not in order", "--sort"),
    (AZURE + "2023-11-16 18:15:46,-3,5\n", 2, "negative input tokens", ""),
    (AZURE + "2023-11-16 18:15:46,nan,5\n", 2, "not a whole number", ""),
    (AZURE + "2023-11-16 18:15:46,inf,5\n", 2, "not a whole number", ""),
    (AZURE + "2023-11-16 18:15:46,3.5,5\n", 2, "3.5 is not a whole number", ""),
    (AZURE + "2023-11-16 18:15:46,,5\n", 2, "nothing is not a whole number", ""),
    (AZURE + "2023-11-16 18:15:46,9999999999,5\n", 2, "cannot be", ""),
    (AZURE + "2023-11-16 18:15:46,3\n", 2, "2 values in a table of 3 columns", "cut off"),
    (AZURE + "yesterday,3,5\n", 2, "yesterday is not a time", ""),
    (AZURE + "2023-13-16 18:15:46,3,5\n", 2, "is not a time", ""),
    (AZURE.replace("\n", ",ContextTokens\n") + "2023-11-16 18:15:46,3,5,3\n", 1, "is there twice", "remove"),
    ("timestamp,isl,osl\n1,2,3\n", 1, "unit of the times in 'timestamp' is not known", "--time-unit"),
    ("timestamp_s,foo,osl\n1,2,3\n", 1, "no column is known as input length", "--column isl=NAME"),
    ("arrival_s,isl,osl\n-1,2,3\n", 2, "negative time", ""),
    ("arrival_s,isl,osl\nnan,2,3\n", 2, "time is nan", ""),
    ('arrival_s,isl,osl\n1,2,"3\n', 2, "not valid CSV", ""),
    (AZURE.encode() + b"caf\xe9,1,2\n", 2, "not UTF-8", "UTF-8"),
    (mooncake((0, 600, 5, [0, 1])) + '{"timestamp": 5, "input_len', 2, "not a whole JSON object", "cut off"),
    (mooncake((0, 600, 5, [0, 1])) + "{nonsense}\n", 2, "not valid JSON", ""),
    (mooncake((0, 600, 5, [0, 1])) + '{"timestamp": 5}\n', 2, "'input_length' is missing", ""),
    (mooncake((0, 600, 5, [0, 1])) + "[1]\n", 2, "not a JSON object", ""),
    (mooncake((0, 600, 5, [0, 1])).replace('"output_length"', '"timestamp"'), 1, "'timestamp' is there twice", ""),
    (mooncake((0, 600, 5, ["x", "y"])), 1, "hash ids must be whole numbers", ""),  # type: ignore[list-item]
    (mooncake((0, 600, 5, [2**70, 1])), 1, "at most 63 bits", ""),
    (mooncake((0, 600, True, [1, 2])), 1, "is not a whole number", ""),
    (mooncake((-4, 600, 5, [1, 2])), 1, "negative time", ""),
    ('{"a": ' + "[" * 100_000 + "\n", 1, "not valid JSON", ""),
    (gzip.compress(AZURE.encode() * 4000, mtime=0)[:60], None, "cut off", "again"),
    (b"\x1f\x8bnonsense", 1, "damaged", "again"),
])
def test_what_is_wrong_and_where(tmp_path: Path, text: str | bytes, line: int | None, says: str, hint: str) -> None:
    error = refuse(tmp_path, text)
    assert says in error.message and hint in (error.hint or "")
    assert error.where is not None and error.where.startswith(str(tmp_path / "t.csv"))
    if line is not None:
        assert error.where.endswith(f":{line}")


def test_wrong_options(tmp_path: Path) -> None:
    text = "arrival_s,isl,osl\n1,2,3\n"
    assert "formats are" in str(refuse(tmp_path, text, format="splitwise").hint)
    assert "unknown time unit 'seconds'" in refuse(tmp_path, text, time_unit="seconds").message
    assert "did you mean osl" in str(refuse(tmp_path, text, columns={"osl": "ols"}).hint)
    assert "roles are" in str(refuse(tmp_path, text, columns={"output": "osl"}).hint)
    assert "not in the format azure" in refuse(tmp_path, text, format="azure").message
    with pytest.raises(InputError, match="no such file"):
        read_trace(tmp_path / "nowhere.csv")
    with pytest.raises(InputError, match="folder"):
        read_trace(tmp_path)


def test_failures_can_be_left_out(tmp_path: Path) -> None:
    text = "arrival_s,isl,osl\n1,2,0\n2,3,4\n"
    assert read(tmp_path, text, drop_failed=True).dropped == {"0 output tokens": 1}
    error = refuse(tmp_path, "arrival_s,isl,osl\n1,2,0\n", drop_failed=True)
    assert "no requests" in error.message and "all 1 rows" in str(error.hint)


rows = st.lists(st.tuples(st.integers(0, 10**9), st.integers(1, 10**6), st.integers(1, 10**6)), min_size=1, max_size=30)


@given(rows)
def test_what_is_written_is_read(tmp_path_factory: pytest.TempPathFactory, data: list[tuple[int, int, int]]) -> None:
    folder = tmp_path_factory.mktemp("t")
    data = sorted(data, key=lambda r: r[0])
    t = read(folder, "arrival_ms,isl,osl\n" + "".join(f"{a},{b},{c}\n" for a, b, c in data),
             columns={"timestamp": "arrival_ms"})
    assert t.arrival_s is not None
    assert np.allclose(t.arrival_s, [(a - data[0][0]) / 1000 for a, _, _ in data])
    assert list(zip(t.isl.tolist(), t.osl.tolist(), strict=True)) == [(b, c) for _, b, c in data]


LIKELY = st.text('{}[]",:0123456789\n timestampinputoutput_length', max_size=200)


@given(st.binary(max_size=300) | LIKELY.map(str.encode))
def test_any_bytes_give_a_trace_or_a_costplan_error(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    path = tmp_path_factory.mktemp("t") / "x"
    for head in (b"", b"\x1f\x8b", AZURE.encode(), b"PAR1"):
        path.write_bytes(head + data)
        try:
            assert len(read_trace(path)) > 0
        except CostplanError as e:
            assert e.message
