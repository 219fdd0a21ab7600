"""The rooms of docs/structure.md, and who may import whom. Functions and type-only imports count too."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[2] / "costplan"
MAP = {
    "core": set(),
    "catalog": {"core"},
    "workload": {"core"},
    "history": {"core"},
    "profile": {"core"},
    "campaign": {"core", "catalog", "workload", "profile", "perf", "simulate", "plan"},
    "kernels": {"core", "profile"},
    "perf": {"core", "catalog", "profile"},
    "simulate": {"core", "workload", "perf"},
    "plan": {"core", "catalog", "workload", "profile", "perf", "simulate"},
    "validate": {"core", "catalog", "workload", "profile", "perf", "simulate", "plan"},
    "report": {"core", "catalog", "workload", "profile", "perf", "simulate", "plan", "validate", "campaign",
               "history"},
    "ci": {"core", "profile", "plan", "report"},
}
MAP["api"] = set(MAP) - {"ci", "history", "report", "campaign"}  # costplan/api.py, the library in five lines
MAP["cli"] = set(MAP)
ACCELERATOR = {
    "torch", "triton", "flash_attn", "flashinfer", "vllm", "sglang", "tensorrt_llm", "jax", "cupy", "numba"}
FILES = sorted(PACKAGE.rglob("*.py"))


def imports(path: Path) -> Iterator[tuple[str, str | None]]:
    """Module and imported name (None for ``import module``) of every import statement."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from ((a.name, None) for a in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield from ((node.module or "", a.name) for a in node.names)


def room_of(path: Path) -> str:
    parts = path.relative_to(PACKAGE).parts
    return parts[0] if len(parts) > 1 else ""


def room_named(module: str, name: str | None) -> str | None:
    """Room that an import of ours reaches; None for other packages, ``""`` for the package root."""
    parts = module.split(".")
    if parts[0] != "costplan":
        return None
    if len(parts) > 1:
        return parts[1]
    return name if name in MAP else ""


def breaches(path: Path) -> list[str]:
    room = room_of(path)
    out = []
    for module, name in imports(path):
        target = room_named(module, name)
        if target is None or target in ("", room):
            continue
        if room and target not in MAP[room]:
            out.append(f"{room} imports {module}")
    return out


def test_every_room_is_on_the_map() -> None:
    rooms = {room_of(p) for p in FILES} - {""}
    assert rooms <= set(MAP)
    assert {"core", "catalog", "perf", "report", "cli"} <= rooms


@pytest.mark.parametrize("path", FILES, ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_follow_the_map(path: Path) -> None:
    assert breaches(path) == []


def test_the_check_sees_a_breach(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "PACKAGE", tmp_path)
    (tmp_path / "core").mkdir()
    bad = tmp_path / "core" / "bad.py"
    bad.write_text("def f():\n    from costplan.perf.kv import kv_bytes_per_token\n", encoding="utf-8")
    assert breaches(bad) == ["core imports costplan.perf.kv"]


def test_only_kernels_may_import_torch() -> None:
    found = [f"{p.relative_to(PACKAGE)}: {m}" for p in FILES if room_of(p) != "kernels"
             for m, _ in imports(p) if m.split(".")[0] in ACCELERATOR]
    assert found == []


def test_report_takes_value_types_not_functions() -> None:
    """Rendering computes nothing: from other rooms it imports classes and constants only."""
    found = [f"{p.relative_to(PACKAGE)}: {name} of {module}" for p in FILES if room_of(p) == "report"
             for module, name in imports(p)
             if room_named(module, name) not in (None, "", "core", "report") and not (name or "")[:1].isupper()]
    assert found == []


def test_only_the_command_line_prints_and_exits() -> None:
    found = []
    forbidden = ("print", "exit", "quit", "sys.exit", "os._exit", "sys.stdout.write", "sys.stderr.write")
    for path in FILES:
        if room_of(path) in ("cli", ""):
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in forbidden:
                found.append(f"{path.relative_to(PACKAGE)}:{node.lineno}")
    assert found == []
