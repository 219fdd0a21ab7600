"""What a kernel library must offer to be measured. One small file per backend implements `Backend`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from costplan.profile.case import Case

if TYPE_CHECKING:
    from costplan.kernels.inputs import Inputs


@dataclass(frozen=True, slots=True)
class Availability:
    """Whether a backend can run here. ``reason`` is empty where it can; ``install`` says how to get it;
    ``facts`` identify the build (package, version, file, SHA-256, what it was compiled for)."""

    version: str | None
    reason: str = ""
    install: str = ""
    facts: Mapping[str, str] = field(default_factory=dict)

    @property
    def ok(self) -> bool:
        return not self.reason


@dataclass(frozen=True, slots=True)
class Prepared:
    """One case, ready to run.

    ``calls[i]`` launches the kernel on input set ``i`` and returns its output tensor; the sets lie in different
    memory, so that cycling through them finds nothing in cache. ``error(output)`` is the relative Frobenius error
    of the output of ``calls[0]`` against an fp32/fp64 reference, computed where that is affordable; above
    ``tolerance`` the row is refused. ``kernel`` is the name in the table; ``facts`` say what was resolved
    (splits, page size, algorithm). ``graphable``: the launch may be captured in a CUDA graph.
    """

    calls: Sequence[Callable[[], Any]]
    error: Callable[[Any], float]
    tolerance: float
    kernel: str
    facts: Mapping[str, object] = field(default_factory=dict)
    graphable: bool = True


class Backend(Protocol):
    """A kernel library on one kind of device. Constructing one imports nothing heavy and touches no device."""

    @property
    def name(self) -> str:
        """Unique, e.g. ``fa3-vllm``."""
        ...

    @property
    def device(self) -> str:
        """``cuda`` or ``cpu``."""
        ...

    @property
    def domain(self) -> str:
        """Backends of one domain share a worker process; a crash takes down no other domain."""
        ...

    @property
    def families(self) -> frozenset[str]:
        """Kernel families (profile/families.py) that it can run at all."""
        ...

    def probe(self) -> Availability:
        """Whether the library is here and usable; imports it. Never raises."""
        ...

    def supports(self, case: Case) -> str | None:
        """None where it can run ``case``, else the reason in a few words. Pure: needs no library."""
        ...

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        """Make inputs and bind the call. May raise anything; the worker records it as the row's reason."""
        ...


class Unsupported(Exception):
    """Raised by ``prepare`` where only the library itself can tell that it does not run a case."""
