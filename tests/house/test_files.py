"""Committed files name no machine, no index and no user; every package folder is importable."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = ("costplan", "configs", "profiles", "tests", "benchmarks", "docs", ".ci")
TEXT = {".py", ".toml", ".md", ".yaml", ".yml", ".json", ".csv", ".txt", ".cfg", ""}
MACHINE = re.compile(r"(?<![\w.~])/(?:home|root|Users|work|workspace|opt|mnt|tmp/\w)[/\w]|[A-Z]:\\\\Users")
INDEX = re.compile(r"pypi\.org|pythonhosted\.org|--(?:extra-)?index-url|--find-links", re.I)
LARGEST_BYTES = 25 * 1000 * 1000


def committed() -> list[Path]:
    """Tracked files; all text files of our folders where this is no git checkout."""
    try:
        out = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, check=True).stdout
        return [ROOT / name for name in out.decode().split("\0") if name and (ROOT / name).is_file()]
    except (OSError, subprocess.CalledProcessError):
        tree = [p for f in FOLDERS for p in (ROOT / f).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        return [*tree, *(p for p in ROOT.iterdir() if p.is_file())]


def test_no_absolute_machine_paths_and_no_package_index() -> None:
    found = []
    for path in committed():
        if path.suffix not in TEXT or path == Path(__file__).resolve():
            continue
        for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), 1):
            if MACHINE.search(line) or INDEX.search(line):
                found.append(f"{path.relative_to(ROOT)}:{number}: {line.strip()[:80]}")
    assert found == []


@pytest.mark.parametrize(("line", "bad"), [
    ("see /home/ann/x", True), ("open('/root/.cache')", True), ("https://host/work/x", False), ("a/work/b", False),
    ("~/work/x", False), ("/opt/x", True)])
def test_the_check_knows_a_machine_path(line: str, bad: bool) -> None:
    assert bool(MACHINE.search(line)) is bad


def test_shipped_profiles_stay_small() -> None:
    assert sum(p.stat().st_size for p in (ROOT / "profiles").rglob("*") if p.is_file()) <= LARGEST_BYTES


def test_licence_and_notice_are_there() -> None:
    assert "Apache License" in (ROOT / "LICENSE").read_text(encoding="utf-8")
    notice = (ROOT / "NOTICE").read_text(encoding="utf-8")
    for source in ("AISimulate", "karpenter", "skypilot", "gpuhunt", "Azure Public Dataset", "Mooncake", "ServeGen"):
        assert source in notice
    assert (ROOT / "costplan" / "py.typed").is_file()


def test_every_package_folder_has_an_init() -> None:
    folders = {p.parent for p in (ROOT / "costplan").rglob("*.py")}
    assert [str(f.relative_to(ROOT)) for f in folders if not (f / "__init__.py").is_file()] == []
