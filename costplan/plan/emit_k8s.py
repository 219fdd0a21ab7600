"""Kubernetes: a Deployment and a Service (and a ConfigMap where the engine reads a file), as plain mappings.

Arguments are lists: no shell reads them. ``enableServiceLinks`` is off because a Service called ``vllm`` would set
``VLLM_PORT`` in its pods.
"""

from __future__ import annotations

from typing import Any

from costplan.catalog.price import Price
from costplan.core.errors import InputError
from costplan.plan.emit_names import image_ref, is_path, label_value, namespace_name, rfc1123_name
from costplan.plan.emit_server import Server

CONFIG_FILE = "/etc/costplan/trtllm.yaml"
CACHE = "/model-cache"
START_UP_S, PROBE_S = 3600, 10
SHM = "16Gi"
_RESOURCES = {"NVIDIA": "nvidia.com/gpu", "AMD": "amd.com/gpu"}
_LABELLED = {"aws", "azure", "gcp"}
"""Providers whose managed Kubernetes labels nodes with the instance type that price lists use."""


def object_name(s: Server, name: str | None) -> str:
    """Name of all objects: the user's, or engine and model."""
    return rfc1123_name(name if name is not None else f"{s.facts.name}-{(s.model or s.config.model).split('/')[-1]}",
                        s.facts.name)


def manifests(s: Server, args: list[str], replicas: int, *, name: str | None = None, namespace: str | None = None,
              image: str | None = None, instance: Price | None = None,
              config_text: str | None = None) -> list[dict[str, Any]]:
    """The objects, in the order in which they are applied. ``config_text`` becomes a ConfigMap at `CONFIG_FILE`."""
    if s.model is None:
        raise InputError(f"a {s.weights.needs} checkpoint of {s.config.model} must be named: pods cannot ask for one",
                         where="checkpoint", hint="give the repository or folder that holds it")
    if image is None and s.gpu.vendor != "NVIDIA":
        raise InputError(f"costplan knows no {s.facts.title} image for {s.gpu.vendor} GPUs", where="image",
                         hint="give one")
    called = object_name(s, name)
    meta: dict[str, Any] = {"name": called, "labels": {"app.kubernetes.io/name": called,
                                                       "app.kubernetes.io/managed-by": "costplan"}}
    if namespace is not None:
        meta["namespace"] = namespace_name(namespace)
    pod = _pod(s, args, called, image_ref(image or s.facts.image), instance, config_text is not None)
    selector = {"app.kubernetes.io/name": called}
    deployment = {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": meta, "spec": {
        "replicas": replicas, "selector": {"matchLabels": selector},
        "strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": 0, "maxUnavailable": 1}},
        "progressDeadlineSeconds": START_UP_S + 600,
        "template": {"metadata": {"labels": selector}, "spec": pod}}}
    service = {"apiVersion": "v1", "kind": "Service", "metadata": meta, "spec": {
        "selector": selector, "ports": [{"name": "http", "port": 80, "targetPort": "http"}]}}
    config = [{"apiVersion": "v1", "kind": "ConfigMap", "metadata": meta,
               "data": {CONFIG_FILE.rsplit("/", 1)[1]: config_text}}] if config_text is not None else []
    return [*config, deployment, service]


def _pod(s: Server, args: list[str], name: str, image: str, instance: Price | None,
         with_config: bool) -> dict[str, Any]:
    volumes, mounts = _volumes(s, name, with_config)
    pod: dict[str, Any] = {
        "enableServiceLinks": False, "terminationGracePeriodSeconds": 120,
        "containers": [{
            "name": s.facts.name, "image": image, "command": list(s.facts.command), "args": args,
            "env": _env(s), "ports": [{"name": "http", "containerPort": s.port}],
            "resources": {kind: {_RESOURCES[s.gpu.vendor]: s.config.num_gpus} for kind in ("limits", "requests")},
            **_probes(s), "volumeMounts": mounts}],
        "volumes": volumes}
    label = label_value(instance.instance) if instance and instance.provider in _LABELLED else None
    if label:
        pod["nodeSelector"] = {"node.kubernetes.io/instance-type": label}
    return pod


def _env(s: Server) -> list[dict[str, Any]]:
    token = {"secretKeyRef": {"name": "hf-token", "key": "token", "optional": True}}
    return [{"name": "HF_HOME", "value": CACHE}, {"name": "HF_TOKEN", "valueFrom": token}]


def _probes(s: Server) -> dict[str, Any]:
    """Start-up may take an hour (download, load, graph capture); after that a silent server is restarted."""
    get = {"path": s.facts.health, "port": "http"}
    return {"startupProbe": {"httpGet": dict(get), "periodSeconds": PROBE_S, "failureThreshold": START_UP_S // PROBE_S},
            "readinessProbe": {"httpGet": dict(get), "periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 3},
            "livenessProbe": {"httpGet": dict(get), "periodSeconds": PROBE_S, "timeoutSeconds": 10,
                              "failureThreshold": 6}}


def _volumes(s: Server, name: str, with_config: bool) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    volumes: list[dict[str, Any]] = [{"name": "model-cache", "emptyDir": {}}]
    mounts: list[dict[str, Any]] = [{"name": "model-cache", "mountPath": CACHE}]
    if s.config.num_gpus > 1:
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory", "sizeLimit": SHM}})
        mounts.append({"name": "shm", "mountPath": "/dev/shm"})
    if with_config:
        volumes.append({"name": "config", "configMap": {"name": name}})
        mounts.append({"name": "config", "mountPath": CONFIG_FILE.rsplit("/", 1)[0], "readOnly": True})
    if s.model is not None and is_path(s.model):
        if not s.model.startswith("/") or s.model == "/" or ".." in s.model.split("/"):
            raise InputError(f"pods cannot see the relative folder {s.model!r}", where="model",
                             hint="give an absolute path that exists on every node, or a Hugging Face name")
        volumes.append({"name": "weights", "hostPath": {"path": s.model, "type": "Directory"}})
        mounts.append({"name": "weights", "mountPath": s.model, "readOnly": True})
    return volumes, mounts
