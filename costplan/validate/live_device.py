"""The device of a profile: of the catalogue, or described by the profile itself."""

from __future__ import annotations

from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.gpus import gpu
from costplan.core.errors import ProfileError, UnknownNameError
from costplan.perf import devices
from costplan.profile.manifest import Manifest


def device_of(manifest: Manifest) -> GpuSpec:
    """Peaks and bandwidth of the device that was measured. Raises ProfileError where they are not known."""
    told = devices.device_of(manifest, f"profile {manifest.name}")
    if told is not None:
        return told
    try:
        return gpu(manifest.gpu)
    except UnknownNameError as e:
        raise ProfileError(f"profile {manifest.name} was measured on {manifest.gpu}, which nothing describes",
                           hint="measure it again with `costplan profile`, which records the device") from e
