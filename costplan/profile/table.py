"""A measurement table in memory: one numpy array per column, text columns as codes into a vocabulary."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Table:
    """Measurements of one kernel family. All arrays have shape ``[rows]``.

    ``columns`` holds integers and floats (``latency_s`` always); ``codes`` the text columns, as indices into
    ``vocab[column]``.
    """

    family: str
    columns: Mapping[str, NDArray[np.generic]]
    codes: Mapping[str, NDArray[np.integer]]
    vocab: Mapping[str, tuple[str, ...]]

    def __len__(self) -> int:
        return len(self.columns["latency_s"])

    def mask(self, **where: object) -> NDArray[np.bool_]:
        """Boolean ``[rows]``: every named column equals the value (text columns by text)."""
        out = np.ones(len(self), dtype=bool)
        for name, value in where.items():
            if name in self.vocab:
                vocab = self.vocab[name]
                out &= self.codes[name] == vocab.index(str(value)) if value in vocab else False
            else:
                out &= self.columns[name] == value
        return out

    def take(self, rows: NDArray[np.generic]) -> Table:
        """The table of some rows (mask or indices)."""
        return Table(self.family, {k: v[rows] for k, v in self.columns.items()},
                     {k: v[rows] for k, v in self.codes.items()}, self.vocab)

    def text(self, name: str) -> list[str]:
        """A text column spelled out."""
        vocab = self.vocab[name]
        return [vocab[i] for i in self.codes[name]]
