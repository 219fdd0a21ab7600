"""`costplan emit`: flags, YAML or manifests that start a planned configuration."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def emit(
    plan: Annotated[Path, typer.Argument(help="File written by: costplan plan WORKLOAD --json -o FILE.")],
    engine: Annotated[str | None, typer.Option(help="vllm, sglang, trtllm, or k8s [the plan's engine].")] = None,
    rank: Annotated[int, typer.Option(min=1, help="Which of its plans.")] = 1,
    checkpoint: Annotated[str | None, typer.Option(help="Repository or folder that has the planned weights.")] = None,
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Port to serve on.")] = None,
    name: Annotated[str | None, typer.Option(help="Name of the Kubernetes objects.")] = None,
    namespace: Annotated[str | None, typer.Option(help="Kubernetes namespace.")] = None,
    image: Annotated[str | None, typer.Option(help="Container image.")] = None,
    output: Annotated[Path | None, typer.Option("-o", "--output", help="Write to this file instead.")] = None,
) -> None:
    """Print what starts a plan: a command, a configuration file, or Kubernetes manifests."""
    from costplan.cli.explain import read_plan
    from costplan.cli.output import emit as out
    from costplan.plan.emit import emit as emitted

    p = read_plan(plan).ranked(rank)
    found = emitted(p.config, engine or p.config.engine, p.replicas, instance=p.money.rental.price,
                    checkpoint=checkpoint, port=port, name=name, namespace=namespace, image=image)
    out(found.text, output)
