"""The rows of a profile that the live model's own attention kernel gave: no other kernel may answer for it."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from costplan.profile.steps import LiveHow
from costplan.profile.store import Profile
from costplan.profile.table import Table

_NAMES = {("sdpa", False): "torch-sdpa-flash", ("sdpa-packed", False): "torch-sdpa-flash-packed",
          ("sdpa", True): "torch-gather-sdpa", ("sdpa-packed", True): "torch-gather-sdpa"}
"""(attention, paged) -> the decode kernel of the CPU backends; prompts run on plain SDPA."""


@dataclass
class RowsOf:
    """A profile seen through the attention of ``how``. ``notes`` say where another kernel had to stand in."""

    profile: Profile
    how: LiveHow
    notes: dict[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return self.profile.name

    @property
    def engine(self) -> str:
        return self.profile.engine

    def table(self, family: str) -> Table | None:
        """Measurements of one family; of attention those of the live kernel, where there are any."""
        found = self.profile.table(family)
        if found is None or family not in ("attn_prefill", "attn_decode", "attn_ragged"):
            return found
        return self._of_kernel(self._of_page(found))

    def _of_page(self, found: Table) -> Table:
        page = 0 if found.family == "attn_prefill" else self.how.page_size
        same = np.asarray(found.columns["page_size"] == page)
        if same.any():
            return found.take(same)
        self.notes[found.family] = f"no {found.family} row has page size {page}: other pages stand in"
        return found

    def _of_kernel(self, found: Table) -> Table:
        words = found.vocab["kernel"]
        paged = bool(self.how.page_size)
        wanted = "torch-sdpa-flash" if found.family == "attn_prefill" and self.how.attention.startswith("sdpa") else \
            _NAMES.get((self.how.attention, paged), self.how.attention)
        exact = np.array([wanted in (w, w.partition(":")[2]) for w in words], dtype=bool)  # backend:kernel
        like = np.array([self.how.attention.removesuffix("-packed") in w for w in words], dtype=bool)
        for chosen in (exact, like):
            rows = chosen[found.codes["kernel"]]
            if rows.any():
                return found.take(rows)
        self.notes[found.family] = (f"no {found.family} row was measured with {self.how.attention}: "
                                    f"{', '.join(words[:3])} stand in")
        return found
