"""A writer in a process of its own: adds entries one by one and says so after each, until it is done or killed."""

from __future__ import annotations

import resource
import sys
from datetime import UTC, datetime, timedelta

from costplan.core.errors import CostplanError
from costplan.history.entry import Entry, Kind
from costplan.history.store import opened


def main(where: str, name: str, count: int, most_bytes: int) -> int:
    """Add ``count`` entries of service ``name``; no file may grow beyond ``most_bytes`` (0: no limit)."""
    if most_bytes:
        resource.setrlimit(resource.RLIMIT_FSIZE, (most_bytes, most_bytes))
    try:
        with opened(where, create=True) as store:
            for i in range(count):
                at = datetime(2026, 1, 1, tzinfo=UTC) + timedelta(seconds=i)
                store.add([Entry(name, Kind.ACTUAL, at, "test", f"{i}", 1.0, 3.6, 1000.0, configuration="x" * 300)])
                print(i, flush=True)
    except CostplanError as e:
        print(f"{type(e).__name__}: {e}", file=sys.stderr)
        return e.exit_code
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
