"""`costplan workload`: data on standard output, fits at every width, nothing half written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from costplan.cli.workload import app
from costplan.core.errors import InputError
from costplan.report.style import Style
from costplan.report.workload_text import duration, render_summary, render_workload
from costplan.workload.load import load_workload
from costplan.workload.requests import sample_requests
from costplan.workload.summary import summarise

CONFIGS = Path(__file__).resolve().parents[2] / "configs"
TRACE = '{"timestamp": %d, "input_length": %d, "output_length": 9, "hash_ids": [0, %d]}\n'


@pytest.fixture
def trace(tmp_path: Path) -> Path:
    path = tmp_path / "my trace.jsonl"
    path.write_text("".join(TRACE % (i * 700, 600 + i, i // 3 + 1) for i in range(200)))
    return path


def run(*args: object) -> str:
    result = CliRunner().invoke(app, [str(a) for a in args], catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def failing(*args: object) -> InputError:
    result = CliRunner().invoke(app, [str(a) for a in args])
    assert isinstance(result.exception, InputError)
    return result.exception


def test_show_a_trace(trace: Path) -> None:
    out = run("show", trace)
    for word in ("mooncake, 200 requests", "prefix sharing", "unlimited", "isl histogram", "burstiness"):
        assert word in out
    assert "\x1b" not in out and max(map(len, out.splitlines())) <= 80


def test_show_as_json_is_stable_and_goes_to_a_file(trace: Path, tmp_path: Path) -> None:
    found = json.loads(run("show", trace, "--json"))
    assert found["requests"] == 200 and found["isl"]["min"] == 600 and found["load"]["interarrival_cv"] < 1e-6
    assert found["prefix"]["hit_rate_by_cache"][0]["cache_tokens"] == 512_000
    assert sum(b["requests"] for b in found["isl"]["histogram"]) == 200
    assert run("show", trace, "--json", "-o", tmp_path / "s.json") == ""
    assert json.loads((tmp_path / "s.json").read_text()) == found


@pytest.mark.parametrize("name", ["chat", "long-context", "reasoning", "summarisation"])
@pytest.mark.parametrize("style", [Style(60), Style(80), Style(120, color=True), Style(200, unicode=False)])
def test_no_line_is_wider_than_the_terminal(name: str, style: Style) -> None:
    w = load_workload(CONFIGS / f"{name}.yaml")
    s = summarise(sample_requests(w, 500, 0).as_trace("a/very/long/path/" * 9))
    for text in (render_workload(w, s, style), render_summary(s, style)):
        plain = text.replace("\x1b[1m", "").replace("\x1b[36m", "").replace("\x1b[0m", "")
        assert "\x1b" not in plain and ("\x1b" in text) == style.color
        assert max(map(len, plain.splitlines())) <= max(style.width, 80)
        assert style.unicode or plain.isascii()


def test_show_a_workload(tmp_path: Path) -> None:
    out = run("show", CONFIGS / "chat.yaml", "-n", 500)
    assert "ttft p95 <= 1 s, tpot p95 <= 50 ms" in out and "h100_sxm" in out and "500 requests" in out
    found = json.loads(run("show", CONFIGS / "reasoning.yaml", "--json", "-n", 500))
    assert found["slo"][1] == {"metric": "tpot", "percentile": 0.95, "limit_s": 0.05}
    assert found["sample"]["requests"] == 500 and found["peak_requests_per_s"] > 30


def test_fit_writes_a_workload_that_can_be_shown(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.yaml"
    assert run("fit", trace, "-o", out, "--name", "mine", "--model", "Qwen/Qwen3-8B") == ""
    w = load_workload(out)
    assert (w.name, w.model) == ("mine", "Qwen/Qwen3-8B") and w.prefix and w.prefix.block_tokens == 512
    assert "mine" in run("show", out)
    assert run("fit", trace).startswith("# yaml-language-server")


def test_fit_does_not_overwrite_unless_forced(trace: Path, tmp_path: Path) -> None:
    out = tmp_path / "w.yaml"
    out.write_text("mine\n")
    assert "--force" in str(failing("fit", trace, "-o", out).hint) and out.read_text() == "mine\n"
    run("fit", trace, "-o", out, "--force")
    assert out.read_text() != "mine\n"


def test_a_failed_fit_leaves_no_file(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("arrival_s,isl,osl\n1,2,0\n")
    failing("fit", tmp_path / "t.csv", "-o", tmp_path / "w.yaml")
    failing("fit", tmp_path / "t.csv", "--drop-failed", "-o", tmp_path / "w.yaml")
    assert sorted(p.name for p in tmp_path.iterdir()) == ["t.csv"]


def test_options_reach_the_reader(tmp_path: Path) -> None:
    (tmp_path / "t.csv").write_text("when,a,b\n2000,3,4\n1000,5,0\n0,7,8\n")
    out = run("show", tmp_path / "t.csv", "--json", "--column", "timestamp=when", "--column", "isl=a",
              "--column", "osl=b", "--time-unit", "ms", "--sort", "--drop-failed")
    found = json.loads(out)
    assert found["load"]["span_s"] == 2 and found["dropped"] == {"0 output tokens": 1}
    assert "ROLE=NAME" in failing("show", tmp_path / "t.csv", "--column", "isl").message


def test_hostile_names_cannot_steer_the_terminal(tmp_path: Path) -> None:
    path = tmp_path / "w.yaml"
    path.write_text((CONFIGS / "chat.yaml").read_text() + 'tenants: [{name: "[red]x", share: 1}]\n')
    assert "[red]x" in run("show", path, "-n", 100)


@pytest.mark.parametrize(("seconds", "text"), [(0.05, "50 ms"), (1, "1 s"), (90, "90 s"), (3537, "58.95 min")])
def test_durations_read_well(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_the_command_imports_nothing_heavy() -> None:
    code = ("import sys, costplan.cli.workload, costplan.workload; "
            "print({'numpy', 'pandas', 'pydantic', 'yaml', 'torch'} & set(sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True,
                          cwd=CONFIGS.parent)
    assert done.stdout.strip() == "set()"
