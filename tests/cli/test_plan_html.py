"""`costplan plan --html --open` as a user meets it."""

from __future__ import annotations

import importlib.util
import webbrowser
from pathlib import Path

import pytest

from costplan.cli.app import main

SMALL = """\
name: small <b>
model: llama-3.1-8b
load: {rate: {requests_per_s: 2}}
lengths: {isl: {fixed: 500}, osl: {fixed: 50}}
slo: {ttft: {p95: 1s}, tpot: {p95: 50ms}}
candidates: {gpus: [h100_sxm], engines: [vllm], tp: [1], weights: [bf16], max_num_seqs: [64],
  max_num_batched_tokens: [2048]}
"""
DAY = "diurnal: [1, 1, 1, 1, 1, 1, 2, 3, 4, 5, 6, 6, 6, 6, 5, 5, 4, 4, 3, 3, 2, 2, 1, 1]\n"


@pytest.fixture
def small(tmp_path: Path) -> Path:
    path = tmp_path / "small.yaml"
    path.write_text(SMALL + DAY, encoding="utf-8")
    return path


def drawable() -> None:
    for name in ("vl_convert", "jinja2"):
        pytest.importorskip(name, reason=f"{name} is not installed (extra html)")


def test_page_is_written_beside_the_text_and_opened(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    drawable()
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", lambda url: bool(opened.append(url)) or True)
    html = tmp_path / "plan.html"
    assert main(["plan", str(small), "--html", str(html), "--open"]) == 0
    streams = capsys.readouterr()
    page = html.read_text(encoding="utf-8")
    headline = streams.out.splitlines()[0]
    assert headline.startswith("Rent ") and f"<h1>{headline}" in page
    assert "small &lt;b&gt;" in page and "small <b>" not in page
    for said in ("Load against capacity over the day", "under the roofline of H100", "SHA-256", "h100_sxm-vllm"):
        assert said in page
    assert opened == [html.as_uri()] and "wrote" in streams.err
    assert main(["plan", str(small), "--html", str(tmp_path / "again.html")]) == 0
    assert (tmp_path / "again.html").read_text(encoding="utf-8") == page


def test_an_infeasible_plan_has_a_page_too(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                           capsys: pytest.CaptureFixture[str]) -> None:
    drawable()
    monkeypatch.setattr(webbrowser, "open", lambda url: False)
    html = tmp_path / "plan.html"
    assert main(["plan", str(small), "--budget", "1", "--html", str(html), "--open"]) == 5
    assert "infeasible as asked" in html.read_text(encoding="utf-8")
    assert f"open {html} yourself" in capsys.readouterr().err


def test_refusals_come_before_the_search(small: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
                                         capsys: pytest.CaptureFixture[str]) -> None:
    from costplan.plan import planner

    monkeypatch.setattr(planner, "plan", lambda *_, **__: pytest.fail("searched"))
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name)
    for args, said in ((["--open"], "add --html FILE"), (["--html", str(tmp_path / "no" / "x.html")], "no folder"),
                       (["--html", str(tmp_path)], "is a folder")):
        assert main(["plan", str(small), *args]) == 2
        assert said in capsys.readouterr().err
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert main(["plan", str(small), "--html", str(tmp_path / "x.html")]) == 2
    assert "pip install 'costplan[html]'" in capsys.readouterr().err
