"""`costplan ci comment` against servers of our own that answer like GitHub and GitLab."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from costplan.ci.comment import MARKER, comment
from costplan.ci.report_file import parse_report, report_json
from costplan.ci.types import Outcome, Report
from costplan.cli.app import main
from costplan.core.errors import InputError

from .test_hostile_names import report

HEAD = "f" * 40


@dataclass
class Service:
    """Comments by id as (mine, text), and every request that changed something."""

    comments: dict[int, tuple[bool, str]] = field(default_factory=dict)
    done: list[tuple[str, str]] = field(default_factory=list)
    tokens: set[str] = field(default_factory=set)
    status: int = 200
    url: str = ""
    location: str = ""

    def answer(self, method: str, path: str, body: Any) -> Any:
        return self.read(path, body) if method == "GET" or path == "/graphql" else self.change(method, path, body)

    def read(self, path: str, body: Any) -> Any:
        if path == "/graphql":
            nodes = [{"databaseId": i, "body": t, "viewerDidAuthor": mine} for i, (mine, t) in self.comments.items()]
            after = int(body["variables"]["after"] or 0)
            page = {"nodes": nodes[after:after + 2], "pageInfo": {"hasNextPage": after + 2 < len(nodes),
                                                                  "endCursor": str(after + 2)}}
            return {"data": {"repository": {"pullRequest": {"comments": page}}}}
        if path == "/user":
            return {"id": 5}
        if "/notes?" in path:
            notes = [{"id": i, "body": t, "author": {"id": 5 if m else 6}} for i, (m, t) in self.comments.items()]
            return notes if "&page=1" in path else []
        return {"head": {"sha": HEAD}, "sha": HEAD}

    def change(self, method: str, path: str, body: Any) -> Any:
        self.done.append((method, path))
        if method == "POST":
            self.comments[100] = (True, body["body"])
            return {"id": 100}
        number = int(path.rsplit("/", 1)[-1])
        if method == "DELETE":
            del self.comments[number]
            return None
        self.comments[number] = (True, body["body"])
        return {"id": number}


@pytest.fixture
def service(monkeypatch: pytest.MonkeyPatch) -> Iterator[Service]:
    state = Service()

    class Handler(BaseHTTPRequestHandler):
        def _do(self) -> None:
            length = int(self.headers.get("Content-Length") or 0)
            body = json.loads(self.rfile.read(length)) if length else None
            state.tokens.add(self.headers.get("Authorization") or self.headers.get("PRIVATE-TOKEN") or "")
            found = state.answer(self.command, self.path, body) if state.status == 200 else None
            self.send_response(state.status)
            if state.location:
                self.send_header("Location", state.location)
            data = b"" if found is None else json.dumps(found).encode()
            self.send_header("Content-Length", str(len(data)))
            self.end_headers()
            self.wfile.write(data)

        do_GET = do_POST = do_PATCH = do_PUT = do_DELETE = _do  # noqa: N815 - names of the standard library

        def log_message(self, format: str, *args: object) -> None:
            """Say nothing."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_address[1]}"
    for name, value in {"GITHUB_API_URL": state.url, "GITHUB_GRAPHQL_URL": f"{state.url}/graphql",
                        "GITHUB_TOKEN": "secret", "GITHUB_REPOSITORY": "o/r", "CI_API_V4_URL": state.url,
                        "GITLAB_TOKEN": "secret", "CI_PROJECT_ID": "group/project"}.items():
        monkeypatch.setenv(name, value)
    yield state
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.fixture
def written(tmp_path: Path) -> Path:
    path = tmp_path / "report.json"
    path.write_text(report_json(report("chat")), encoding="utf-8")
    return path


def send(path: Path, provider: str, *args: str) -> int:
    return main(["ci", "comment", str(path), "--provider", provider, "--number", "7", *args])


@pytest.mark.parametrize("provider", ["github", "gitlab"])
def test_created_once_then_updated_in_place_and_never_a_strangers(service: Service, written: Path,
                                                                  provider: str) -> None:
    service.comments = {1: (False, f"{MARKER} planted by a stranger"), 2: (True, "mine, about something else"),
                        3: (False, "hello")}
    assert send(written, provider) == 0
    assert [m for m, _ in service.done] == ["POST"]
    assert service.comments[100][1] == comment(report("chat"))
    assert send(written, provider) == 0
    assert [m for m, _ in service.done] == ["POST", "PATCH" if provider == "github" else "PUT"]
    assert service.comments[1][1].endswith("stranger")
    assert send(written, provider, "--behavior", "delete") == 0
    assert 100 not in service.comments and len(service.comments) == 3
    assert service.tokens == ({"Bearer secret"} if provider == "github" else {"secret"})


def test_unchanged_posts_nothing_but_corrects_an_older_comment(service: Service, tmp_path: Path) -> None:
    from dataclasses import replace

    quiet: Report = replace(report("chat", Outcome.UNCHANGED), post=False)
    path = tmp_path / "report.json"
    path.write_text(report_json(quiet), encoding="utf-8")
    assert send(path, "github") == 0 and service.done == []
    service.comments = {9: (True, f"{MARKER} was worse")}
    assert send(path, "github") == 0 and "no cost change" in service.comments[9][1]


def test_number_is_a_claim_that_is_checked(service: Service, written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert send(written, "github", "--expect-head", "a" * 40) == 2
    assert "the request is at ffffffffff" in capsys.readouterr().err and service.done == []
    assert send(written, "github", "--expect-head", HEAD) == 0


@pytest.mark.parametrize(("status", "code", "said"), [(403, 4, "workflow_run"), (401, 4, "the token may not"),
                                                      (404, 2, "not found"), (500, 4, "HTTP 500")])
def test_refusals_say_what_to_do_and_hide_the_token(service: Service, written: Path, status: int, code: int, said: str,
                                                    capsys: pytest.CaptureFixture[str]) -> None:
    service.status = status
    assert send(written, "github") == code
    err = capsys.readouterr().err
    assert said in err and "secret" not in err


def test_a_token_is_not_sent_elsewhere(service: Service, written: Path, monkeypatch: pytest.MonkeyPatch,
                                       capsys: pytest.CaptureFixture[str]) -> None:
    service.status, service.location = 302, f"{service.url}/elsewhere"
    assert send(written, "github") == 4
    monkeypatch.setenv("GITHUB_API_URL", "http://api.example")
    assert send(written, "github") == 2
    assert "not an https address" in capsys.readouterr().err


@pytest.mark.parametrize("data", [
    b"", b"[]", b"{}", b"\xff", b'{"schema": "costplan.ci/2"}', b"[" * 100_000, b'{"a": NaN}',
    b'{"schema": "costplan.ci/1", "tool": 5}', b"x" * (5 << 20)])
def test_hostile_reports_are_refused(data: bytes) -> None:
    with pytest.raises(InputError):
        parse_report(data, "report.json")


@pytest.mark.parametrize(("old", "new"), [
    ('"change_frac": 0.1', '"change_frac": "inf"'), ('"change_frac": 0.1', '"change_frac": 1e300'),
    ('"verdict": "failed"', '"verdict": "great"'), ('"seed": 0', f'"seed": 0, "x": "{"y" * 3000}"'),
    ('"head": "1.1"', '"head": "nan"'), ('"status": "fail"', '"status": "FAIL"')])
def test_impossible_values_are_refused(old: str, new: str) -> None:
    text = report_json(report("chat"))
    assert old in text
    parse_report(text.encode(), "report.json")
    with pytest.raises(InputError):
        parse_report(text.replace(old, new).encode(), "report.json")


def test_render_gives_the_same_comment_from_the_file_alone(written: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ci", "render", str(written), "--markdown"]) == 0
    assert capsys.readouterr().out == comment(report("chat"))
    assert main(["ci", "render", str(written)]) == 0
    assert main(["ci", "render", str(written), "--html", "--markdown"]) == 2
