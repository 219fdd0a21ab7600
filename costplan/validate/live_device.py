"""The device of a profile: of the catalogue, or described by the profile itself."""

from __future__ import annotations

from typing import Any

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.gpus import gpu
from costplan.core.errors import ProfileError, UnknownNameError
from costplan.profile.manifest import Manifest

_DEFAULTS: dict[str, Any] = {
    "title": "", "vendor": "", "arch": "", "compute_capability": "", "l2_bytes": None, "num_sms": None, "link": None,
    "link_bytes_per_s": None, "pcie_bytes_per_s": None, "node_net_bytes_per_s": None, "gpus_per_node": 1, "tdp_w": None,
    "notes": "", "sources": {}}


def device_of(manifest: Manifest) -> GpuSpec:
    """Peaks and bandwidth of the device that was measured. Raises ProfileError where they are not known."""
    told = manifest.origin.get("device_spec")
    if isinstance(told, dict):
        try:
            return GpuSpec(**{**_DEFAULTS, "mem_marketed_bytes": told.get("mem_bytes"), **told})
        except TypeError as e:
            raise ProfileError(f"origin.device_spec of profile {manifest.name}: {e}",
                               hint="measure it again with `costplan profile`") from e
    try:
        return gpu(manifest.gpu)
    except UnknownNameError as e:
        raise ProfileError(f"profile {manifest.name} was measured on {manifest.gpu}, which nothing describes",
                           hint="measure it again with `costplan profile`, which records the device") from e
