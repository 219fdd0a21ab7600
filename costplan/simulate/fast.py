"""The fast engine: the reference's rules compiled to WebAssembly, run inside this process.

WebAssembly because one small module runs at native speed on every platform without a compiler, starts within
some 20 ms, and its arithmetic is the same everywhere: the same seed gives the same bytes.
"""

from __future__ import annotations

import atexit
import ctypes
import threading
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from costplan.core.errors import CostplanError, InputError
from costplan.simulate.fast_layout import OUTPUTS, arrays, fields, scalars, work_bytes
from costplan.simulate.setup import Setup
from costplan.simulate.tally import COUNTERS, Tally, empty_tally

_PAGE = 65536
_MAX_BYTES = 2**32 - 2 * _PAGE
_SLICE = 2_000_000
"""Steps or leaps between two looks at Ctrl-C: a fraction of a second."""

_LOCK = threading.Lock()


@cache
def _compiled() -> tuple[Any, Any]:
    """Compiler and compiled module, shared by all runs of the process."""
    try:
        import wasmtime
    except ImportError as e:
        raise CostplanError("the fast simulator needs the package wasmtime", hint="pip install wasmtime, or use "
                            "engine='reference' for a few hundred requests") from e
    engine = wasmtime.Engine()
    code = files("costplan.simulate.engine").joinpath("engine.wasm").read_bytes()
    atexit.register(_compiled.cache_clear)  # wasmtime cannot free them any more once modules are torn down
    return engine, wasmtime.Module(engine, code)


class _Memory:
    """Linear memory of one run: fields of ``Sim`` first, then the arrays."""

    def __init__(self, setup: Setup) -> None:
        import wasmtime

        with _LOCK:
            engine, module = _compiled()
        self.store = wasmtime.Store(engine)
        self.exports: Any = wasmtime.Instance(self.store, module, []).exports(self.store)
        heap_base: Any = self.exports["__heap_base"]
        self.base = (int(heap_base.value(self.store)) + 63) // 64 * 64
        given, zeros = arrays(setup), work_bytes(setup)
        sizes = {name: a.nbytes for name, a in given.items()} | zeros
        self.at: dict[str, int] = {}
        end = self.base + 8 * len(fields())
        for name, size in sizes.items():
            self.at[name] = end = (end + 63) // 64 * 64
            end += size
        self._grow(end)
        sim = self.view("", len(fields()), self.base)
        for name, value in (scalars(setup) | self.at).items():
            sim[fields()[name]] = value
        for name, a in given.items():
            self.view(name, a.size)[:] = np.ascontiguousarray(a).reshape(-1).view(np.int64)

    def _grow(self, end: int) -> None:
        if end > _MAX_BYTES:
            raise InputError(f"the run needs {end / 2**30:.1f} GiB of memory, the engine has 4",
                             hint="simulate fewer requests or a part of the trace")
        memory = self.exports["memory"]
        missing = end - memory.data_len(self.store)
        if missing > 0:
            memory.grow(self.store, -(-missing // _PAGE))

    def view(self, name: str, count: int, at: int | None = None) -> NDArray[np.int64]:
        """``count`` integers of 8 bytes at field ``name``; valid until the memory grows."""
        start = ctypes.addressof(self.exports["memory"].data_ptr(self.store).contents)
        buffer = (ctypes.c_int64 * count).from_address(start + (self.at[name] if at is None else at))
        return np.ctypeslib.as_array(buffer)

    def call(self, name: str, *args: int) -> int | None:
        """Call an exported function."""
        result = self.exports[name](self.store, self.base, *args)
        return None if result is None else int(result)


def run_fast(setup: Setup) -> Tally:
    """Simulate ``setup``; other threads run meanwhile."""
    tally = empty_tally(setup.arrival)
    if not setup.n:
        return tally
    memory = _Memory(setup)
    memory.call("start")
    while (state := memory.call("advance", _SLICE)) == 1:
        pass
    if state == 2:
        raise InputError("the run would last more than a year", hint="simulate a part of the trace")
    sim = memory.view("", len(fields()), memory.base)
    for name in OUTPUTS:
        getattr(tally, name)[:] = memory.view(name, setup.n)
    tally.gaps[:] = memory.view("gaps", len(tally.gaps))
    tally.counters.update({name: int(sim[fields()[name]]) for name in COUNTERS})
    areas = sim.view(np.float64)
    tally.running_area = float(areas[fields()["running_area"]])
    tally.held_area = float(areas[fields()["held_area"]])
    return tally
