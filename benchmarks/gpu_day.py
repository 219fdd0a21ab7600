"""A GPU day in one command, to be run again until it says that all is done (docs/gpu-run.md).

    python benchmarks/gpu_day.py --out results --minutes 9

Steps: doctor, smoke, one profile per workload, live validation, the field's claims, packing. Each leaves its output in
the state folder and is not run again; a step that a time limit ends goes on where it stopped (`costplan profile
--resume`). ``--device cpu`` runs the same steps on a CPU with a small budget, which proves everything but the GPU.
"""

from __future__ import annotations

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
COSTPLAN = (sys.executable, "-m", "costplan")
KEPT = ("*.json", "*.txt", "*.log", "profiles")


@dataclass(frozen=True, slots=True)
class Step:
    """A command; ``out`` is the file of its standard output. ``least_s`` is the time without which it is not begun;
    ``resumes``: when cut off it goes on with ``--resume`` once its folder exists."""

    name: str
    command: tuple[str, ...]
    out: str
    least_s: float
    resumes: Path | None = None
    required: bool = True


def steps(device: str, workloads: Sequence[str], models: Sequence[str], budget: str, state: Path) -> list[Step]:
    """All steps in order. Live validation runs the first model on the profile of the first workload."""
    say_sdpa = "dtype=bf16 heads=32/8 head_dim=128 q=4096 kv=4096 causal"
    doctor = (*COSTPLAN, "doctor", "--json", "--device", device, "--sdpa", say_sdpa)
    made = [Step("doctor", doctor, "doctor.json", 120.0), Step(
        "smoke", (sys.executable, str(ROOT / "benchmarks/gpu_smoke.py"), "--device", device, "--out",
                  str(state / "smoke.json")), "smoke.txt", 120.0)]
    for w in workloads:
        name = Path(w).stem
        folder = state / "profiles" / f"{device}-{name}"
        command = (*COSTPLAN, "profile", "--workload", str(ROOT / "configs" / f"{name}.yaml"), "--device", device,
                   "--budget", budget, "--out", str(folder))
        made.append(Step(f"profile-{name}", command, f"profile-{name}.txt", 60.0, folder))
    first = str(state / "profiles" / f"{device}-{Path(workloads[0]).stem}")
    contexts = "128,512,2048" if device == "cuda" else "128"
    for m in models:
        command = (*COSTPLAN, "validate", "--live", "--model", m, "--profile", first, "--device", device, "--batch",
                   "1,4,16", "--context", contexts, "--json")
        made.append(Step(f"live-{m}", command, f"live-{m}.json", 90.0, required=False))
    claims = (sys.executable, str(ROOT / "benchmarks/field_claims.py"), "--device", device, "--out",
              str(state / "claims.json"), "--minutes", "4" if device == "cuda" else "1")
    return [*made, Step("claims", claims, "claims.txt", 270.0 if device == "cuda" else 80.0, required=False)]


def run(step: Step, state: Path, limit_s: float) -> bool:
    """Run a step for at most ``limit_s``. True where it is over: done, or failed in a way that will not change."""
    again = step.resumes is not None and any(step.resumes.parent.glob(f"{step.resumes.name}*"))
    command = (*step.command, "--resume") if again else step.command
    say(f"== {step.name}: {' '.join(command[2:] if command[1] == '-m' else command[1:])}")
    out, log = state / step.out, state / f"{step.name}.log"
    begun = time.monotonic()
    with out.open("wb") as standard, log.open("ab") as errors:
        process = subprocess.Popen(command, stdout=standard, stderr=errors, cwd=ROOT, env=environment())
        try:
            code = process.wait(limit_s)
        except subprocess.TimeoutExpired:
            process.send_signal(2)  # as Ctrl-C: what was measured is kept
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
            say(f"   out of time after {limit_s:.0f} s; the next call goes on")
            return False
    say(f"   exit {code} after {time.monotonic() - begun:.0f} s: {out}")
    if code:
        say("   " + "\n   ".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-6:]))
    (state / "done" / step.name).write_text(f"{code}\n", encoding="utf-8")
    return True


def environment() -> dict[str, str]:
    """Our own sources first."""
    before = os.environ.get("PYTHONPATH", "")
    return {**os.environ, "PYTHONPATH": f"{ROOT}{os.pathsep}{before}" if before else str(ROOT), "PYTHONUNBUFFERED": "1"}


def pack(state: Path, out: Path) -> None:
    """Copy what the steps made to ``out``: small files and the profiles."""
    out.mkdir(parents=True, exist_ok=True)
    for pattern in KEPT:
        for path in sorted(state.glob(pattern)):
            target = out / path.name
            if path.is_dir():
                shutil.copytree(path, target, dirs_exist_ok=True)
            else:
                shutil.copy2(path, target)


def say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> int:
    """Exit code 0 when all is done, 3 when another call is needed, 1 when a required step failed."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder that gets a copy of all results at the end")
    parser.add_argument("--state", type=Path, default=Path.home() / ".costplan-gpu-day")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--minutes", type=float, default=9.0, help="of this call")
    parser.add_argument("--budget", default="9m", help="of each profile")
    parser.add_argument("--workload", action="append", help="name in configs/; again for more (default: chat)")
    parser.add_argument("--model", action="append", help="of live validation; again for more")
    given = parser.parse_args()
    deadline = time.monotonic() + 60 * given.minutes
    (given.state / "done").mkdir(parents=True, exist_ok=True)
    models = given.model or (["llama-3.1-8b"] if given.device == "cuda" else ["smollm2-135m"])
    wanted = steps(given.device, given.workload or ["chat"], models, given.budget, given.state)
    for step in wanted:
        left = deadline - time.monotonic()
        if (given.state / "done" / step.name).exists():
            continue
        if left < step.least_s:
            break
        if not run(step, given.state, left - 25):
            break
    pack(given.state, given.out)
    codes = {s.name: (given.state / "done" / s.name) for s in wanted}
    missing = [n for n, p in codes.items() if not p.exists()]
    failed = [s.name for s in wanted if codes[s.name].exists() and codes[s.name].read_text().strip() != "0"]
    say(f"left to do: {', '.join(missing)}; run the same command again" if missing else "all done")
    if failed:
        say(f"failed: {', '.join(failed)}; delete {given.state / 'done'}/NAME to try one again")
    return 3 if missing else int(any(s.required for s in wanted if s.name in failed))


if __name__ == "__main__":
    sys.exit(main())
