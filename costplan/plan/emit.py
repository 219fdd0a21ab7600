"""A planned configuration -> what starts it: a shell command, a YAML file, or Kubernetes objects."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.gpus import gpu as gpu_named
from costplan.catalog.model_spec import ModelSpec
from costplan.catalog.models import model as model_named
from costplan.catalog.price import Price
from costplan.core.errors import InputError, UnknownNameError
from costplan.plan.config import EngineConfig
from costplan.plan.emit_facts import engine_names
from costplan.plan.emit_k8s import CONFIG_FILE, manifests, object_name
from costplan.plan.emit_server import MODEL_VARIABLE, Server, server
from costplan.plan.emit_sglang import sglang_args
from costplan.plan.emit_trtllm import trtllm_args, trtllm_config, trtllm_notes
from costplan.plan.emit_vllm import vllm_args

KUBERNETES = "k8s"
TRTLLM_FILE = "trtllm.yaml"
MAX_REPLICAS = 100_000


class Kind(StrEnum):
    """What the text is, so that a caller can choose a file name."""

    SHELL = "shell"
    YAML = "yaml"
    K8S = "k8s"


@dataclass(frozen=True, slots=True)
class Emitted:
    """``text`` to save or run; ``notes`` are in it as comments too."""

    text: str
    kind: Kind
    notes: tuple[str, ...]


def emit(config: EngineConfig, engine: str, replicas: int = 1, *, instance: Price | None = None,
         checkpoint: str | None = None, name: str | None = None, namespace: str | None = None,
         image: str | None = None, port: int | None = None, spec: ModelSpec | None = None,
         gpu: GpuSpec | None = None) -> Emitted:
    """Start-up of ``replicas`` times ``config`` for ``engine`` (vllm, sglang, trtllm, or k8s for its own engine).

    ``instance`` is what is rented (GPUs per machine; node label), ``checkpoint`` a repository or folder that already
    has the planned weights. ``spec`` and ``gpu`` are looked up by name where absent. Another engine than the planned
    one gets its memory fraction converted. Raises CostplanError for anything that would not start.
    """
    if engine != KUBERNETES and engine not in engine_names():
        raise UnknownNameError("engine", engine, (*engine_names(), KUBERNETES), where="engine")
    if isinstance(replicas, bool) or not isinstance(replicas, int) or not 1 <= replicas <= MAX_REPLICAS:
        raise InputError(f"replicas must be a whole number from 1 to {MAX_REPLICAS}, got {replicas!r}",
                         where="replicas")
    target = config.engine if engine == KUBERNETES else engine
    s = server(config, target, spec or model_named(config.model), gpu or gpu_named(config.gpu), checkpoint=checkpoint,
               port=port, gpus_per_machine=instance.gpu_count if instance else None)
    if engine == KUBERNETES:
        return _kubernetes(s, replicas, name, namespace, image, instance)
    notes = (*s.notes, *_checkpoint_note(s), *_replica_notes(s, replicas, instance))
    if target == "trtllm":
        notes = (*notes, *trtllm_notes(s))
        head = [*_title(s, replicas), f"Save as {TRTLLM_FILE} and start with:",
                f"  {_joined([*s.facts.command, None, *trtllm_args(s, TRTLLM_FILE)], s)}", *_bullets(notes)]
        return Emitted(_comments(head) + _yaml([trtllm_config(s)]), Kind.YAML, notes)
    command = _joined(_argv(s), s, " \\\n  ")
    return Emitted(_comments([*_title(s, replicas), *_bullets(notes)]) + command + "\n", Kind.SHELL, notes)


def _argv(s: Server, config_path: str = TRTLLM_FILE) -> list[str | None]:
    """The whole command; None stands for the model."""
    if s.facts.name == "sglang":
        return [*s.facts.command, "--model-path", None, *sglang_args(s)]
    args = vllm_args(s) if s.facts.name == "vllm" else trtllm_args(s, config_path)
    return [*s.facts.command, None, *args]


def _joined(argv: list[str | None], s: Server, between: str = " ") -> str:
    """``argv`` for a POSIX shell, every word quoted; a flag keeps its value on its line."""
    missing = f'"${{{MODEL_VARIABLE}:?set it to a {s.weights.needs} checkpoint}}"'
    words = [missing if w is None and s.model is None else shlex.quote(s.model or "" if w is None else w) for w in argv]
    lines: list[str] = []
    for w in words:
        if lines and not w.startswith("--"):
            lines[-1] += f" {w}"
        else:
            lines.append(w)
    return between.join(lines)


def _kubernetes(s: Server, replicas: int, name: str | None, namespace: str | None, image: str | None,
                instance: Price | None) -> Emitted:
    called = object_name(s, name)
    is_trtllm = s.facts.name == "trtllm"
    args = [(s.model or "") if w is None else w for w in _argv(s, CONFIG_FILE)][len(s.facts.command):]
    objects = manifests(s, args, replicas, name=name, namespace=namespace, image=image, instance=instance,
                        config_text=_yaml([trtllm_config(s)]) if is_trtllm else None)
    scoped = f" -n {namespace}" if namespace else ""
    notes = [*s.notes, *(trtllm_notes(s) if is_trtllm else ()),
             f"scale with: kubectl scale{scoped} deployment/{called} --replicas=N; a replica takes "
             f"{s.config.num_gpus} GPU(s), and capacity grows nearly in proportion",
             "weights are downloaded by every new pod: replace the emptyDir model-cache by a shared volume to start "
             "faster; gated models need a secret hf-token with key token"]
    if s.config.prefix_caching and replicas > 1:
        notes.append("this Service spreads requests without regard to prefixes: hit rates fall unless a "
                     "prefix-aware router stands before it")
    return Emitted(_comments([*_title(s, replicas), *_bullets(tuple(notes))]) + _yaml(objects), Kind.K8S, tuple(notes))


def _title(s: Server, replicas: int) -> list[str]:
    each = f"{s.config.num_gpus} x {s.gpu.title}"
    return [f"{s.facts.label}: {replicas} replica(s), each on {each}. Written by costplan emit."]


def _checkpoint_note(s: Server) -> tuple[str, ...]:
    if s.model is not None:
        return ()
    return (f"the plan is for {s.weights.needs} weights, which {s.facts.title} does not make from "
            f"{s.config.model if s.config.model.isprintable() else 'this model'} at start-up: set {MODEL_VARIABLE} to "
            "a checkpoint that has them",)


def _replica_notes(s: Server, replicas: int, instance: Price | None) -> tuple[str, ...]:
    if replicas == 1:
        return ()
    per_machine = max(1, (instance.gpu_count if instance else s.gpu.gpus_per_node) // s.config.num_gpus)
    if per_machine == 1:
        return (f"run it once per replica, on {replicas} machines, behind one load balancer",)
    chosen = "CUDA_VISIBLE_DEVICES" if s.gpu.vendor == "NVIDIA" else "HIP_VISIBLE_DEVICES"
    return (f"run it {replicas} times behind one load balancer; a machine holds {per_machine} replicas, each with its "
            f"own {chosen} and --port",)


def _bullets(notes: tuple[str, ...]) -> list[str]:
    return [f"- {n}" for n in notes]


def _comments(lines: list[str]) -> str:
    """Comment lines; nothing in them can end a comment."""
    return "".join(f"# {''.join(ch if ch.isprintable() else '?' for ch in line)}\n" for line in lines)


def _yaml(documents: list[dict[str, Any]]) -> str:
    import yaml

    class Plain(yaml.SafeDumper):
        """Without anchors: the same labels appear in several places."""

        def ignore_aliases(self, data: Any) -> bool:
            return True

    return str(yaml.dump_all(documents, Dumper=Plain, sort_keys=False, default_flow_style=False, width=1000,
                             explicit_start=len(documents) > 1))
