"""From staged inputs to a plan file: the part of `costplan ci` and `costplan diff` that needs workloads and prices."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date

from costplan.ci.inputs import PlanInputs
from costplan.core.errors import InputError


def planner(today: date) -> Callable[[PlanInputs, bool], str]:
    """Plans inputs as of ``today``: that decides whether a price is stale."""

    def plan(inputs: PlanInputs, full: bool) -> str:
        from costplan.catalog.gpus import gpu_key
        from costplan.catalog.price_import import read_prices
        from costplan.catalog.prices import prices
        from costplan.cli.derive import document
        from costplan.cli.plan_inputs import digests
        from costplan.plan.planner import PlanOptions
        from costplan.plan.planner import plan as search
        from costplan.profile.store import Profile
        from costplan.report.plan_json import plan_json, written
        from costplan.workload.load import workload_of

        asked = workload_of(inputs.workload(), inputs.folder)
        asked = replace(asked, model=inputs.model)
        table = prices() if inputs.prices is None else read_prices(inputs.prices).prices
        profiles = tuple(Profile.load(folder) for folder in inputs.profiles.values())
        gpus = [gpu_key(p.gpu) or p.gpu for p in profiles]
        if len(set(gpus)) < len(gpus):
            twice = next(g for g in gpus if gpus.count(g) > 1)
            raise InputError(f"two profiles of {twice}: a plan takes one of each GPU", where="costplan.yaml: profiles")
        options = PlanOptions(robustness=full, sensitivity=full)
        found = search(asked, today=today, seed=inputs.seed, prices=table, profiles=profiles, options=options)
        said = digests(replace(asked, model_path=None), inputs.seed, None, profiles, table)
        return document(found, said, profiles) if full else written(plan_json(found, said))

    return plan
