"""The programs of a GPU day: unpacking a kit, and steps that are cut off and go on (docs/gpu-run.md)."""

from __future__ import annotations

import importlib.util
import sys
import tarfile
import zipfile
from pathlib import Path
from types import ModuleType

import pytest

BENCHMARKS = Path(__file__).resolve().parents[2] / "benchmarks"


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    return load("gpu_day", monkeypatch)


def load(name: str, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, BENCHMARKS / f"{name}.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    monkeypatch.setitem(sys.modules, name, module)
    spec.loader.exec_module(module)
    return module


def test_unpack_leaves_alone_what_the_machine_has(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kit = load("gpu_kit", monkeypatch)
    folder, home = tmp_path / "kit", tmp_path / "home"
    folder.mkdir()
    for name in ("rich", "nowhere_to_be_found"):
        with zipfile.ZipFile(folder / f"{name}-1.0-py3-none-any.whl", "w") as z:
            z.writestr(f"{name}/__init__.py", "version = 1\n")
    (tmp_path / "kernel.so").write_bytes(b"elf")
    with tarfile.open(folder / "kernels.tar.xz", "w:xz") as t:
        t.add(tmp_path / "kernel.so", arcname="vllm/kernel.so")
    kit.unpack(folder, home)
    assert (home / "site/nowhere_to_be_found/__init__.py").is_file() and not (home / "site/rich").exists()
    assert (home / "site/vllm/kernel.so").read_bytes() == b"elf"
    assert f"PYTHONPATH={home / 'site'}" in (home / "env.sh").read_text(encoding="utf-8")


def test_the_shims_are_python(monkeypatch: pytest.MonkeyPatch) -> None:
    kit = load("gpu_kit", monkeypatch)
    for path, text in kit.SHIMS.items():
        compile(text, path, "exec")
    assert all(f"{Path(p).parent}/__init__.py" in kit.SHIMS for p in kit.KEPT if p.endswith(".py"))


def test_a_step_is_cut_off_then_goes_on(program: ModuleType, tmp_path: Path) -> None:
    (tmp_path / "done").mkdir()
    (tmp_path / "p").mkdir()
    code = "import sys, time; print('resumed' if '--resume' in sys.argv else 'fresh', flush=True); " \
           "time.sleep(0 if '--resume' in sys.argv else 60)"
    step = program.Step("s", (sys.executable, "-c", code), "s.txt", 1.0, tmp_path / "p" / "x")
    assert program.run(step, tmp_path, 1.5) is False
    assert not (tmp_path / "done/s").exists()
    (tmp_path / "p" / "x.partial").mkdir()
    assert program.run(step, tmp_path, 30.0) is True
    assert (tmp_path / "s.txt").read_text() == "resumed\n" and (tmp_path / "done/s").read_text() == "0\n"


def test_a_failed_step_is_told_and_packed(program: ModuleType, tmp_path: Path,
                                          capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "state/done").mkdir(parents=True)
    step = program.Step("s", (sys.executable, "-c", "raise SystemExit('no such device')"), "s.json", 1.0)
    assert program.run(step, tmp_path / "state", 30.0) is True
    assert "exit 1" in (out := capsys.readouterr().out) and "no such device" in out
    program.pack(tmp_path / "state", tmp_path / "out")
    assert (tmp_path / "out/s.log").is_file() and (tmp_path / "out/s.json").is_file()


def test_steps_name_what_is_in_the_repository(program: ModuleType, tmp_path: Path) -> None:
    steps = program.steps("cuda", ["chat", "code"], ["llama-3.1-8b"], "9m", tmp_path)
    assert [s.name for s in steps] == ["doctor", "smoke", "profile-chat", "profile-code", "live-llama-3.1-8b",
                                       "claims"]
    files = [Path(w) for s in steps for w in s.command if w.endswith((".yaml", ".py"))]
    assert len(files) == 4 and all(f.is_file() for f in files)
