"""Devices that somebody measured: read from a mapping, added for one process, never over a shipped one."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.catalog.device_spec import read_spec, same_device, spec_mapping
from costplan.catalog.gpus import (
    add_device,
    forget_devices,
    gpu,
    gpu_key,
    gpus,
    look_further,
    search_elsewhere,
    shipped_gpus,
)
from costplan.core.errors import InputError, UnknownNameError

LEAST: dict[str, Any] = {"name": "cpu_y", "title": "Y", "vendor": "CPU", "arch": "cpu", "peak_flops": {"bf16": 1e12},
                         "mem_bytes": 1 << 34, "mem_bandwidth_bytes_per_s": 2e10}


@pytest.fixture(autouse=True)
def _clean() -> Iterator[None]:
    forget_devices()
    yield
    forget_devices()


@pytest.mark.parametrize("key", shipped_gpus())
def test_a_spec_survives_the_round_trip_through_json(key: str) -> None:
    spec = shipped_gpus()[key]
    again = read_spec(json.loads(json.dumps(spec_mapping(spec))), where="x")
    assert same_device(again, spec)
    assert (again.sources, again.notes, again.title) == (spec.sources, spec.notes, spec.title)


def test_what_is_left_out_is_unknown() -> None:
    spec = read_spec(LEAST, where="x")
    assert spec.is_cpu
    assert (spec.gpus_per_node, spec.mem_marketed_bytes, spec.l2_bytes, spec.link) == (1, 1 << 34, None, None)
    assert not gpu("h100_sxm").is_cpu


@pytest.mark.parametrize(("change", "words"), [
    ({"mem_bytes": None}, "mem_bytes is missing"), ({"mem_bytes": -1}, "above 0"), ({"mem_bytes": 1.5}, "whole"),
    ({"mem_bytes": True}, "above 0"), ({"mem_bandwidth_bytes_per_s": float("nan")}, "above 0"),
    ({"mem_bandwith": 1}, "unknown device field"), ({"peak_flops": {}}, "at least one"),
    ({"peak_flops": {"bf17": 1.0}}, "unknown compute format"), ({"peak_flops": {"bf16": "fast"}}, "peak_flops.bf16"),
    ({"name": "CPU X"}, "not a device name"), ({"title": 3}, "must be a text"), ({"sources": ["a"]}, "sources"),
])
def test_a_wrong_field_is_named(change: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words) as e:
        read_spec({**LEAST, **change}, where="manifest.json: origin.device_spec")
    assert "manifest.json" in str(e.value)


@given(st.recursive(st.none() | st.booleans() | st.floats() | st.text(), lambda x: st.lists(x) | st.dictionaries(
    st.sampled_from([*LEAST, "l2_bytes", "sources", "x"]), x)))
def test_anything_else_is_refused_with_an_input_error(content: object) -> None:
    with contextlib.suppress(InputError):
        read_spec(content, where="x")


def test_an_added_device_is_found_and_listed_and_forgotten() -> None:
    add_device(read_spec(LEAST, where="x"))
    assert gpu("CPU_Y").name == "cpu_y"
    assert list(gpus())[-1] == "cpu_y"
    with pytest.raises(UnknownNameError) as e:
        gpu("cpu_z")
    assert "cpu_y" in e.value.nearest
    add_device(read_spec({**LEAST, "mem_bytes": 1}, where="x"))
    assert gpu("cpu_y").mem_bytes == LEAST["mem_bytes"]  # the first stays
    forget_devices()
    assert gpu_key("cpu_y") is None


def test_a_shipped_device_is_not_shadowed() -> None:
    h100 = gpu("h100_sxm")
    add_device(replace(h100, notes="measured again", sources={}))
    with pytest.raises(InputError, match="other numbers"):
        add_device(replace(h100, mem_bytes=h100.mem_bytes + 1))
    assert gpu("h100_sxm") is h100


def test_devices_elsewhere_are_looked_for_once_and_only_for_an_unknown_name() -> None:
    asked: list[int] = []

    def find() -> Iterator[Any]:
        asked.append(1)
        yield read_spec(LEAST, where="x")
        yield replace(gpu("h100_sxm"), mem_bytes=1)  # a liar on disk does no harm

    look_further(find)
    gpu("h100_sxm")
    assert asked == []
    assert gpu("cpu_y").name == "cpu_y"
    assert gpu_key("no such") is None
    search_elsewhere()
    assert asked == [1]
