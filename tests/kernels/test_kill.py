"""SIGKILL at random moments: what was measured stays, nothing is measured twice, the profile is complete."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from collections import Counter
from pathlib import Path

from costplan.kernels.finish import RAW_FILE
from costplan.kernels.journal import FILE_NAME
from costplan.profile.case import Case
from costplan.profile.store import Profile

ROOT = Path(__file__).resolve().parents[2]
KILLS = 20
MANY = [Case.of("gemm", m=m, n=512, k=512, dtype="bf16") for m in range(1, 61)]
SCRIPT = """
import sys
from pathlib import Path
from tests.kernels.test_session import Answers, FixedCases, measured, profile, session
from tests.kernels.test_kill import MANY
folder = Path(sys.argv[1])
s = session(folder / "run", Answers(pause_s=0.04), run=sys.argv[2])
measured(s, FixedCases(MANY[:20], MANY[20:]))
profile(folder / "out", s)
"""


def test_twenty_kills_then_a_whole_profile(tmp_path: Path) -> None:
    rng, killed = random.Random(11), 0
    for attempt in range(200):
        process = subprocess.Popen([sys.executable, "-c", SCRIPT, str(tmp_path), f"run{attempt}"], cwd=ROOT,
                                   stderr=subprocess.PIPE)
        try:
            if killed == KILLS:
                _, errors = process.communicate(timeout=120)
                assert process.returncode == 0, errors.decode()
                break
            process.communicate(timeout=rng.uniform(0.25, 0.6))
            assert process.returncode == 0
            break
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.communicate()
            killed += 1
    assert killed == KILLS
    p = Profile.load(tmp_path / "out")
    assert {f: t.rows for f, t in p.manifest.tables.items()} == {"gemm": len(MANY)}
    lines = [json.loads(x) for x in (tmp_path / "run" / FILE_NAME).read_text(encoding="utf-8").splitlines()]
    measured = Counter((str(e["case"]), e["backend"], e["pass"]) for e in lines if "regimes" in e and not
                       e.get("sentinel"))
    assert set(measured.values()) == {1}
    assert (p.folder / RAW_FILE).stat().st_size > 0
