"""A real Prometheus scrapes what `history report` writes and answers the dashboard; its vLLM counters come back."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlencode
from urllib.request import urlopen

import pytest

from costplan.cli.app import main
from costplan.history.entry import Entry, Kind

for name in ("sqlalchemy", "prometheus_client"):
    pytest.importorskip(name, reason=f"{name} is not installed (extra history)")

ROOT = Path(__file__).resolve().parents[2]
TOKENS_PER_S = 1000.0
OPENMETRICS = "application/openmetrics-text; version=1.0.0; charset=utf-8"
CONFIG = """\
global: {scrape_interval: 500ms}
scrape_configs:
- {job_name: costplan, metrics_path: /costplan, static_configs: [{targets: ["127.0.0.1:%d"]}]}
- {job_name: vllm, metrics_path: /vllm, static_configs: [{targets: ["127.0.0.1:%d"]}]}
"""


class Exporter(ThreadingHTTPServer):
    """Serves a text of costplan's, and counters as those of a vLLM that writes 1,000 tokens a second."""

    def __init__(self, costplan: str) -> None:
        self.costplan, self.began = costplan, time.time()
        super().__init__(("127.0.0.1", 0), Answer)

    def vllm(self) -> str:
        n = (time.time() - self.began) * 5
        lines = ["# TYPE vllm:generation_tokens_total counter",
                 f'vllm:generation_tokens_total{{engine="0"}} {n / 5 * TOKENS_PER_S}',
                 "# TYPE vllm:request_success_total counter",
                 f'vllm:request_success_total{{finished_reason="stop"}} {n}']
        for name in ("time_to_first_token_seconds", "request_time_per_output_token_seconds"):
            lines.append(f"# TYPE vllm:{name} histogram")
            lines += [f'vllm:{name}_bucket{{le="{le}"}} {n * part}' for le, part in (("0.1", 0.2), ("0.5", 0.9),
                                                                                    ("2.0", 1.0), ("+Inf", 1.0))]
            lines += [f"vllm:{name}_sum {n}", f"vllm:{name}_count {n}"]
        return "\n".join(lines) + "\n"


class Answer(BaseHTTPRequestHandler):
    server: Exporter

    def do_GET(self) -> None:
        ours = self.path == "/costplan"
        text = self.server.costplan if ours else self.server.vllm()
        self.send_response(200)
        self.send_header("Content-Type", OPENMETRICS if ours else "text/plain; version=0.0.4")
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, *args: Any) -> None:
        """Nothing to say."""


@pytest.fixture
def exported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """OpenMetrics of a history of two services, one with all that can be said of it, in a file beside."""
    from costplan.history.store import opened

    monkeypatch.chdir(tmp_path)
    start = datetime.now(UTC).replace(microsecond=0) - timedelta(days=60)
    entries = [Entry("chat", Kind.PLAN, start, "plan", "p", 1.0, 3.6, 1000.0, low90=0.8, high90=1.4),
               Entry("new", Kind.PLAN, start, "plan", "n", 2.0, 7.2, 1000.0)]
    entries += [Entry("chat", Kind.ACTUAL, start + timedelta(days=2 * d), "test", f"{d}", 1.1, 3.96, 1000.0)
                for d in range(1, 30)]
    with opened("costplan-history.sqlite", create=True) as store:
        store.add(entries)
    assert main(["history", "report", "--openmetrics", "-o", "costplan.prom"]) == 0
    return Path("costplan.prom").read_text(encoding="utf-8")


@pytest.fixture
def prometheus(exported: str, tmp_path: Path) -> Iterator[str]:
    """Address of a server of this test's own that has scraped eight times at least."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no Prometheus on this machine")
    with Exporter(exported) as exporter, socket.socket() as free:
        threading.Thread(target=exporter.serve_forever, daemon=True).start()
        (tmp_path / "prometheus.yml").write_text(CONFIG % (exporter.server_port, exporter.server_port))
        free.bind(("127.0.0.1", 0))
        at = f"127.0.0.1:{free.getsockname()[1]}"
        free.close()
        with (tmp_path / "log").open("wb") as log:
            running = subprocess.Popen(
                [program, f"--config.file={tmp_path / 'prometheus.yml'}", f"--web.listen-address={at}",
                 f"--storage.tsdb.path={tmp_path / 'data'}"], stdout=log, stderr=log)
        try:
            for _ in range(300):
                assert running.poll() is None, (tmp_path / "log").read_text(errors="replace")
                if scraped(f"http://{at}") >= 8:
                    break
                time.sleep(0.2)
            yield f"http://{at}"
        finally:
            running.terminate()
            running.wait(30)
            exporter.shutdown()


def scraped(address: str) -> int:
    try:
        found = asked(address, "query", query="min(count_over_time(up[1h])) and count(up) == 2")["data"]["result"]
    except OSError:
        return 0
    return int(found[0]["value"][1]) if found else 0


def asked(address: str, what: str, **how: str) -> dict[str, Any]:
    with urlopen(f"{address}/api/v1/{what}?{urlencode(how)}", timeout=10) as answer:
        found: dict[str, Any] = json.load(answer)
    return found


def test_what_prometheus_scrapes_answers_the_dashboard_and_comes_back(
        prometheus: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    page = json.loads((ROOT / "configs" / "grafana-dashboard.json").read_text(encoding="utf-8"))
    for panel in page["panels"]:
        for target in panel["targets"]:
            found = asked(prometheus, "query", query=target["expr"].replace("$service", ".*"))["data"]["result"]
            assert found, target["expr"]
    fleets = next(p for p in page["panels"] if "fleets" in p["title"])["targets"][0]["expr"].replace("$service", ".*")
    (sum_,) = asked(prometheus, "query", query=fleets)["data"]["result"]
    assert float(sum_["value"][1]) == pytest.approx(3.96 + 7.2)  # the newest actual of one, the plan of the other
    metrics = 'vllm:generation_tokens_total|vllm:request_success_total|vllm:.*_bucket'
    now = time.time()
    answer = asked(prometheus, "query_range", query=f'{{__name__=~"{metrics}"}}', start=str(now - 60), end=str(now),
                   step="0.5")
    (tmp_path / "range.json").write_text(json.dumps(answer), encoding="utf-8")
    capsys.readouterr()
    assert main(["history", "add", "range.json", "-s", "chat", "--usd-per-h", "3.6"]) == 0
    assert main(["history", "show", "-s", "chat", "-n", "1", "--json"]) == 0
    (entry,) = json.loads(capsys.readouterr().out)["entries"]
    assert entry["output_tok_s"] == pytest.approx(TOKENS_PER_S, rel=0.25)  # of some seconds
    assert entry["usd_per_mtok_out"] == pytest.approx(1e6 * 3.6 / (entry["output_tok_s"] * 3600))
    bucket = "vllm:time_to_first_token_seconds_bucket"
    for share, name in ((0.5, "ttft_p50_s"), (0.99, "ttft_p99_s")):
        (own,) = asked(prometheus, "query",
                       query=f"histogram_quantile({share}, sum by (le) (increase({bucket}[1m])))")["data"]["result"]
        assert entry[name] == pytest.approx(float(own["value"][1]), rel=1e-6)
