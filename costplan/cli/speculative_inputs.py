"""From the flags of speculative decoding, or a workload's section, to drafts and what they are worth."""

from __future__ import annotations

from costplan.core.errors import InputError
from costplan.perf.drafter import drafter_of, room_beside
from costplan.perf.drafting import Drafting
from costplan.perf.kv_budget import KvBudget
from costplan.perf.latency import KernelLatencyModel
from costplan.perf.predict import Deployment, Prediction
from costplan.perf.speculative import Speculation, speculation
from costplan.perf.steady import Load
from costplan.profile.store import Profile
from costplan.simulate.drafts import Drafts
from costplan.workload.workload import Speculative

DRAFT_TOKENS, SPREAD = 4, 0.1
_FLAGS = {"draft": "--spec-draft", "acceptance": "--acceptance", "spread": "--acceptance-spread",
          "draft_tokens": "--draft-tokens"}


def drafting(draft: str | None, acceptance: float | None, draft_tokens: int | None, spread: float | None,
             adaptive: bool, section: Speculative | None = None) -> Drafting | None:
    """What the flags say, else the workload's section; None where nobody asks. Raises InputError with the flag."""
    if draft is None:
        given = {"--acceptance": acceptance, "--draft-tokens": draft_tokens, "--acceptance-spread": spread,
                 "--adaptive-drafts": adaptive or None}
        for flag, value in given.items():
            if value is not None:
                raise InputError("says nothing without --spec-draft", where=flag,
                                 hint="--spec-draft mtp, eagle, ngram or the name of a draft model")
        return None if section is None else Drafting(section.draft, section.acceptance, section.draft_tokens[0],
                                                     section.acceptance_spread, checkpoint=section.checkpoint)
    if acceptance is None:
        raise InputError("is needed with --spec-draft", where="--acceptance",
                         hint="the share of guesses that are kept; engines log it (0.6 to 0.8 is common for EAGLE-3)")
    try:
        return Drafting(draft, acceptance, draft_tokens or DRAFT_TOKENS, SPREAD if spread is None else spread, adaptive)
    except InputError as e:
        raise InputError(e.message, where=_FLAGS.get(e.where or "", e.where), hint=e.hint) from None


def drafts_of(dep: Deployment, asked: Drafting | None, own: Profile | None, *,
              where: str = "--spec-draft") -> Drafts | None:
    """The drafts of a deployment. Raises InputError that names the flag or the key of the file."""
    if asked is None:
        return None
    try:
        return Drafts(drafter_of(dep, asked.draft, own), asked)
    except InputError as e:
        raise InputError(e.message, where=where if e.where == "draft" else e.where, hint=e.hint) from None


def room(budget: KvBudget, drafts: Drafts | None) -> KvBudget:
    """The KV cache beside the drafts, if any."""
    return budget if drafts is None else room_beside(budget, drafts.drafter)


def speculated(model: KernelLatencyModel, asked: Load, without: Prediction, drafts: Drafts) -> Speculation:
    """Gain and loss by batch size; the asked load at the batch that it has without drafts."""
    return speculation(model, drafts.drafter, drafts.drafting, context=asked.isl + asked.osl / 2, osl=asked.osl,
                       here=round(without.point.batch), most=without.budget.limits.max_num_seqs)
