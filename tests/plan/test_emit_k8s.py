"""Kubernetes objects and every name that reaches them: valid, complete, and closed to injection."""

from __future__ import annotations

import re
import shlex
from dataclasses import replace
from datetime import date
from typing import Any

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from costplan.catalog.models import model
from costplan.catalog.price import Price, Purchase
from costplan.core.errors import CostplanError, InputError
from costplan.perf.layout import Layout
from costplan.plan.config import EngineConfig
from costplan.plan.emit import emit
from costplan.plan.emit_names import MAX_NAME, image_ref, is_path, model_ref, namespace_name, rfc1123_name

CONFIG = EngineConfig("llama-3.1-8b", "h200_sxm", "vllm", Layout(tp=2), "bf16", "bf16", 16, 256, 8192, 32768, 0.92)
SPEC = model("llama-3.1-8b")
RFC1123 = re.compile(r"[a-z]([a-z0-9-]*[a-z0-9])?\Z")
P5 = Price("aws", "us-east-1", "p5en.48xlarge", "h200_sxm", 8, Purchase.ON_DEMAND, 63.3, date(2026, 11, 1), "test")
nasty = st.one_of(st.text(max_size=40), st.sampled_from([
    "$(reboot)", "`id`", "a; rm -rf b", "a\nkind: Pod", "--help", "-x", "org/m'x", 'org/m"x', "org/m\x00", "../../etc",
    "org/$(HF_TOKEN)", "org/model\n# x", "${IFS}", "*", "&anchor", "!!python/object", "org/модель", "true", "~/x"]))


def objects(**extra: Any) -> dict[str, dict[str, Any]]:
    return {d["kind"]: d for d in yaml.safe_load_all(emit(CONFIG, "k8s", 3, **extra).text)}


def test_deployment_and_service_belong_together() -> None:
    docs = objects(instance=P5)
    spec = docs["Deployment"]["spec"]
    pod = spec["template"]["spec"]
    box = pod["containers"][0]
    assert set(docs) == {"Deployment", "Service"} and spec["replicas"] == 3
    labels = spec["template"]["metadata"]["labels"]
    assert spec["selector"]["matchLabels"] == labels == docs["Service"]["spec"]["selector"]
    assert box["resources"]["limits"] == box["resources"]["requests"] == {"nvidia.com/gpu": 2}
    assert [box[f"{p}Probe"]["httpGet"]["path"] for p in ("startup", "readiness", "liveness")] == ["/health"] * 3
    assert {m["name"] for m in box["volumeMounts"]} <= {v["name"] for v in pod["volumes"]}
    assert "/dev/shm" in {m["mountPath"] for m in box["volumeMounts"]}
    assert pod["nodeSelector"] == {"node.kubernetes.io/instance-type": "p5en.48xlarge"}
    assert docs["Service"]["spec"]["ports"][0]["targetPort"] == box["ports"][0]["name"]
    assert pod["enableServiceLinks"] is False


def test_one_gpu_needs_no_shared_memory() -> None:
    text = emit(replace(CONFIG, layout=Layout()), "k8s").text
    assert "/dev/shm" not in text


def test_trtllm_reads_its_file_from_a_config_map() -> None:
    config = replace(CONFIG, engine="trtllm", block_size=32, memory_fraction=0.9)
    docs = list(yaml.safe_load_all(emit(config, "k8s").text))
    (name, text), = docs[0]["data"].items()
    args = docs[1]["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[args.index("--config") + 1].endswith(f"/{name}")
    assert yaml.safe_load(text)["tensor_parallel_size"] == 2


def test_amd_gpus_have_another_resource_and_need_an_image() -> None:
    config = replace(CONFIG, gpu="mi300x")
    with pytest.raises(InputError, match="no vLLM image"):
        emit(config, "k8s")
    assert "amd.com/gpu: 2" in emit(config, "k8s", image="registry.example/vllm-rocm:0.33").text


def test_a_folder_is_mounted_and_must_be_absolute() -> None:
    docs = list(yaml.safe_load_all(emit(replace(CONFIG, model="/models/llama"), "k8s", spec=SPEC).text))
    pod = docs[0]["spec"]["template"]["spec"]
    assert {"name": "weights", "hostPath": {"path": "/models/llama", "type": "Directory"}} in pod["volumes"]
    with pytest.raises(InputError, match="relative"):
        emit(replace(CONFIG, model="./llama"), "k8s", spec=SPEC)


@settings(max_examples=150, deadline=None)
@given(text=nasty)
def test_no_name_breaks_out_of_its_place(text: str) -> None:
    for given_as in ("model", "checkpoint", "name", "namespace", "image"):
        config = replace(CONFIG, model=text) if given_as == "model" else CONFIG
        extra = {} if given_as == "model" else {given_as: text}
        for engine in ("k8s", "vllm", "sglang"):
            try:
                out = emit(config, engine, spec=SPEC, **extra)  # type: ignore[arg-type]
            except CostplanError as e:
                assert str(e).isprintable()
                continue
            if engine == "k8s":
                docs = list(yaml.safe_load_all(out.text))
                assert [d["kind"] for d in docs] == ["Deployment", "Service"]
                assert all(RFC1123.match(d["metadata"]["name"]) for d in docs)
                assert not any("$(" in a for a in docs[0]["spec"]["template"]["spec"]["containers"][0]["args"])
            else:
                body = [ln for ln in out.text.splitlines() if not ln.startswith("#")]
                argv = shlex.split("\n".join(body).replace("\\\n", ""))
                command = ["vllm", "serve"] if engine == "vllm" else ["python3", "-m", "sglang.launch_server"]
                assert argv[:len(command)] == command
                assert argv.index("--host") == (3 if engine == "vllm" else 5)  # one word stands for the model
                assert not re.search(r"[;`&|<>]|\$\(", "\n".join(body))


@given(text=st.text(max_size=200))
def test_object_names_are_rfc1123(text: str) -> None:
    name = rfc1123_name(text)
    assert RFC1123.match(name) and len(name) <= MAX_NAME and rfc1123_name(name) == name


@pytest.mark.parametrize(("given_name", "ref"), [
    ("llama-3.1-8b", "meta-llama/Llama-3.1-8B-Instruct"), ("meta-llama/Llama-3.1-8B", "meta-llama/Llama-3.1-8B"),
    ("acme/finetune-7b", "acme/finetune-7b"), ("/models/x/config.json", "/models/x"), ("./w", "w")])
def test_model_references(given_name: str, ref: str) -> None:
    assert model_ref(given_name) == ref


@pytest.mark.parametrize("bad", ["", "x", "-rf/x", "a/b c", "a/b;c", "~/w", "/w/$(x)", "a/b\nc", "/" + "x" * 2000])
def test_model_references_refused(bad: str) -> None:
    with pytest.raises(InputError) as e:
        model_ref(bad)
    assert e.value.hint


def test_other_names() -> None:
    assert is_path("/x") and not is_path("a/b")
    assert image_ref("nvcr.io/a/b:1.0@sha256-x") and namespace_name("team-a")
    for bad in ("UPPER", "a b", "", "-a", "x" * 64):
        with pytest.raises(InputError):
            namespace_name(bad)
    for bad in ("", "a b", "a;b", "$(x)"):
        with pytest.raises(InputError):
            image_ref(bad)


@pytest.mark.parametrize("extra", [{"replicas": 0}, {"replicas": True}, {"replicas": 10**9}, {"port": 0},
                                   {"port": 70000}, {"port": True}])
def test_numbers_at_the_door(extra: dict[str, Any]) -> None:
    with pytest.raises(InputError):
        emit(CONFIG, "k8s", **extra)
