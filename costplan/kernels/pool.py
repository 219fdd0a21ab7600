"""Worker processes, one per domain of backends, started when needed and replaced when they die or hang."""

from __future__ import annotations

import json
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from types import TracebackType
from typing import IO, Any

_START_S = 180.0
_END_S = 10.0
_STDERR_KEPT_BYTES = 4000


class Pool:
    """``ask`` sends one request to a domain's worker and waits, at most ``timeout_s``."""

    def __init__(self, device: str, env: Mapping[str, str] | None = None) -> None:
        self.device = device
        self._env = {**os.environ, **(env or {})}
        self._workers: dict[str, _Process] = {}

    def __enter__(self) -> Pool:
        return self

    def __exit__(self, kind: type[BaseException] | None, value: BaseException | None,
                 trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """End all workers."""
        for w in self._workers.values():
            w.kill()
        self._workers.clear()

    def ask(self, domain: str, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        """The worker's reply. A dead or silent worker is replaced at the next request; the reply is then
        ``{"failed": reason, "fatal": True}``."""
        worker = self._workers.get(domain)
        fresh = worker is None or not worker.alive
        if worker is None or fresh:
            worker = self._workers[domain] = _Process(self.device, self._env)
        reply = worker.ask(request, timeout_s + (_START_S if fresh else 0.0))
        if reply.get("fatal"):
            worker.kill()
        return reply


class _Process:
    """One worker process."""

    def __init__(self, device: str, env: Mapping[str, str]) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "costplan.kernels.worker", device], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, env=dict(env))
        self._errors = b""
        self._buffer = b""

    @property
    def alive(self) -> bool:
        return self._process.poll() is None

    def kill(self) -> None:
        """End the process now."""
        if self.alive:
            self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()

    def ask(self, request: Mapping[str, Any], timeout_s: float) -> dict[str, Any]:
        stdin = self._process.stdin
        assert stdin is not None
        try:
            stdin.write(json.dumps(request).encode() + b"\n")
            stdin.flush()
        except OSError:
            return self._ended()
        try:
            line = self._line(time.monotonic() + timeout_s)
        except TimeoutError:
            self.kill()
            return {"failed": f"no answer within {timeout_s:.0f} s", "fatal": True, "timeout": True}
        if line is None:
            return self._ended()
        try:
            reply: dict[str, Any] = json.loads(line)
        except ValueError:
            return {"failed": f"the worker answered {line[:100]!r}", "fatal": True}
        return reply

    def _line(self, deadline: float) -> bytes | None:
        """The next line of the answer, None where the process closed it. Raises TimeoutError."""
        stdout, stderr = self._process.stdout, self._process.stderr
        assert stdout is not None and stderr is not None
        with selectors.DefaultSelector() as ready:
            ready.register(stdout, selectors.EVENT_READ)
            ready.register(stderr, selectors.EVENT_READ)
            while b"\n" not in self._buffer:
                left = deadline - time.monotonic()
                if left <= 0:
                    raise TimeoutError
                for key, _ in ready.select(min(left, 0.5)):
                    data = os.read(key.fd, 1 << 16)
                    if key.fileobj is stdout:
                        self._buffer += data
                        if not data:
                            return None
                    elif data:
                        self._errors = (self._errors + data)[-_STDERR_KEPT_BYTES:]
                    else:
                        ready.unregister(stderr)
        line, self._buffer = self._buffer.split(b"\n", 1)
        return line

    def _ended(self) -> dict[str, Any]:
        """How a process that answered nothing ended."""
        try:
            code = self._process.wait(_END_S)
        except subprocess.TimeoutExpired:  # it closed its output and lives on
            self.kill()
            code = self._process.returncode
        self._errors += _rest(self._process.stderr)
        how = f"killed by {signal.Signals(-code).name}" if code < 0 else f"exit status {code}"
        last = self._errors.decode("utf-8", "replace").strip().splitlines()
        return {"failed": f"the worker process ended ({how}){': ' + last[-1][:200] if last else ''}", "fatal": True}


def _rest(pipe: IO[bytes] | None) -> bytes:
    try:
        return pipe.read()[-_STDERR_KEPT_BYTES:] if pipe is not None and not pipe.closed else b""
    except OSError:
        return b""
