"""What a command imports, seen from inside a new process: no stopwatch, no heavy packages."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

HEAVY = ("torch", "pandas", "numpy", "numba", "pydantic", "yaml", "pyarrow", "rich")
PROBE = """
import json, sys
from costplan.cli.app import main
code = main(sys.argv[1:])
print(json.dumps([code, sorted(set(sys.modules) & set({heavy!r}))]), file=sys.stderr)
"""
PREDICT = ("predict", "--model", "llama-3.1-8b", "--gpu", "h200_sxm", "--isl", "512", "--osl", "64",
           "--concurrency", "4", "--json")


def run(*args: str, env: dict[str, str] | None = None) -> tuple[int, list[str], str]:
    """Exit code, heavy modules and standard output of one command."""
    done = subprocess.run([sys.executable, "-c", PROBE.format(heavy=HEAVY), *args], capture_output=True, text=True,
                          check=True, env={**os.environ, **(env or {})})
    code, heavy = json.loads(done.stderr.strip().splitlines()[-1])
    return code, heavy, done.stdout


@pytest.mark.parametrize("args", [("--help",), ("--version",)])
def test_help_imports_nothing_heavy(args: tuple[str, ...]) -> None:
    code, heavy, out = run(*args)
    assert (code, heavy) == (0, [])
    assert "costplan" in out


@pytest.mark.parametrize("args", [
    ("predict", "--help"), PREDICT, ("catalog", "models", "llama-3.1-8b"), ("catalog", "prices", "--gpu", "h100_sxm"),
    ("roofline", "--model", "llama-3.1-8b", "--gpu", "h200_sxm", "--json")], ids=lambda a: " ".join(a[:2]))
def test_commands_stay_light(args: tuple[str, ...]) -> None:
    """typer itself reads numbers with pydantic; nothing else that is slow to import may come in."""
    code, heavy, _ = run(*args)
    assert code == 0
    assert set(heavy) <= {"numpy", "pydantic"}


def test_a_prediction_itself_needs_numpy_only() -> None:
    script = ("import sys; from costplan.cli.predict import predict\n"
              "predict('llama-3.1-8b', 'h200_sxm', 512, 64, concurrency=4.0, json_=True)\n"
              f"print(sorted(set(sys.modules) & set({HEAVY!r}) - set(before)), file=sys.stderr)")
    script = "import sys, typer, typer.main; before = set(sys.modules)\n" + script
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stderr.strip().splitlines()[-1] == "['numpy']"
    assert json.loads(done.stdout)["schema"] == "costplan.predict/1"


def test_completion_offers_commands_and_imports_no_number_crunching() -> None:
    script = ("import sys; from costplan.cli.app import main; import atexit\n"
              f"atexit.register(lambda: print(sorted(set(sys.modules) & set({HEAVY!r})), file=sys.stderr))\n"
              "sys.exit(main([]))")
    env = {**os.environ, "_COSTPLAN_COMPLETE": "complete_bash", "COMP_WORDS": "costplan pre", "COMP_CWORD": "1"}
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, env=env, check=False)
    assert done.stdout.split() == ["predict"]
    assert done.stderr.strip().splitlines()[-1] in ("[]", "['pydantic']")


def test_python_m_costplan_is_the_same_command() -> None:
    done = subprocess.run([sys.executable, "-m", "costplan", "--version"], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("costplan ")
