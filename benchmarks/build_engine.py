"""Rebuild ``costplan/simulate/engine/engine.wasm`` from its C sources, or check that it is what they give.

Usage: python benchmarks/build_engine.py [--check]        (needs: pip install ziglang==0.17.0)
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

ENGINE = Path(__file__).resolve().parents[1] / "costplan" / "simulate" / "engine"
FLAGS = ("--target=wasm32-freestanding", "-std=c11", "-O3", "-nostdlib", "-Wall", "-Wextra", "-Werror",
         "-ffp-contract=off", "-fno-sanitize=all", "-Wl,--no-entry", "-Wl,--export=__heap_base", "-Wl,--strip-all")


def build(target: Path) -> None:
    """Compile the engine to ``target``; the same sources and compiler give the same bytes."""
    subprocess.run([sys.executable, "-m", "ziglang", "cc", *FLAGS, "-o", str(target), "engine.c"], cwd=ENGINE,
                   check=True)


def main() -> int:
    """Write the module, or compare it with ``--check``."""
    shipped = ENGINE / "engine.wasm"
    with tempfile.TemporaryDirectory() as folder:
        fresh = Path(folder) / "engine.wasm"
        build(fresh)
        data = fresh.read_bytes()
    if "--check" in sys.argv[1:]:
        same = shipped.is_file() and shipped.read_bytes() == data
        print("engine.wasm is what its sources give" if same else "engine.wasm differs from its sources: rebuild it")
        return 0 if same else 1
    shipped.write_bytes(data)
    print(f"{shipped.name}: {len(data):,} bytes")
    return 0


if __name__ == "__main__":
    sys.exit(main())
