"""Looking at libraries in a process of its own: ``python -m costplan.kernels.probing WHAT ...`` answers in JSON lines.

A library that crashes when imported ends this process only, and the lines before tell which one it was.
"""

from __future__ import annotations

import json
import os
import sys
from dataclasses import asdict
from typing import TextIO


def serve(what: str, names: list[str], told: TextIO) -> None:
    """Answer about ``environment``, ``backends`` (by name) or ``sdpa`` (one question)."""
    def tell(answer: dict[str, object]) -> None:
        told.write(json.dumps(answer, default=str) + "\n")
        told.flush()

    if what == "environment":
        from costplan.kernels.environment import environment

        tell(environment())
    elif what == "sdpa":
        from costplan.kernels.sdpa_choice import choice

        tell(choice(names[0]))
    else:
        from costplan.kernels import registry

        for name in names:
            tell({"begin": name})
            found = registry.backend(name).probe()
            tell({"name": name, **asdict(found)})


def main() -> None:
    """Answers go to the real standard output, whatever a library prints to standard error."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as told:
        os.dup2(2, 1)
        serve(sys.argv[1], sys.argv[2:], told)


if __name__ == "__main__":
    main()
