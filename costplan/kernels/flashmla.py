"""FlashMLA: latent attention in decode on Hopper, pages of 64 tokens."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from costplan.kernels.backend import Availability, Prepared
from costplan.kernels.inputs import Inputs
from costplan.kernels.library import Library, binary_path, probe
from costplan.kernels.mla_inputs import LATENT, MLA_DECODE, SCALE, MlaSet, mla_refusal, prepare_mla_decode
from costplan.profile.case import Case

LIBRARY = Library("vllm", "vllm", "pip install vllm (0.26.0 is the last one for torch 2.11)", (9,), "_flashmla_C*.so",
                  {"formats": "bf16", "pages": "64 only", "splits": "automatic only", "head_dims": "576 to 512"})


class FlashMla:
    name, device, domain, families = "flashmla", "cuda", "flashmla", MLA_DECODE

    def probe(self) -> Availability:
        return probe(LIBRARY, _loads)

    def supports(self, case: Case) -> str | None:
        return mla_refusal(case, MLA_DECODE)

    def prepare(self, case: Case, inputs: Inputs) -> Prepared:
        return prepare_mla_decode(case, inputs, bind, "flashmla_dense", lambda out: out[0][:, 0])


def operators() -> Any:
    """``torch.ops._flashmla_C``, loaded from vLLM's folder. Raises ImportError."""
    import torch

    if not hasattr(torch.ops._flashmla_C, "dense_decode_fwd"):
        path = binary_path(LIBRARY)
        if path is None:
            raise ImportError("vLLM's FlashMLA (_flashmla_C) is not here")
        load: Any = torch.ops.load_library
        load(str(path))
    return torch.ops._flashmla_C


def _loads(_: Any) -> str | None:
    try:
        operators()
    except (ImportError, OSError) as e:
        return str(e).splitlines()[0][:200]
    return None


def bind(given: MlaSet) -> Callable[[], Any]:
    """The tile schedule is made by a first call and used again, as an engine does for all layers of a step."""
    q, pages = given.q[:, None], given.pages[:, :, None]
    call = partial(operators().dense_decode_fwd, q, pages, LATENT, given.lens, given.table, SCALE, False)
    *_, schedule, splits = call(None, None, None)
    return partial(call, schedule, splits, None)
