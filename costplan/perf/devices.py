"""Devices that profiles bring along: a CPU, or a GPU that the catalogue does not know."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from costplan.catalog.device_spec import read_spec
from costplan.catalog.gpu_spec import GpuSpec
from costplan.catalog.gpus import add_device
from costplan.core.errors import CostplanError, ProfileError
from costplan.profile.manifest import Manifest
from costplan.profile.store import Profile, list_profiles

DEVICE_SPEC = "device_spec"
"""Key of ``origin`` in a manifest: the fields of a `GpuSpec` (`catalog.device_spec.read_spec`)."""


def open_profile(path_or_name: str | Path) -> Profile:
    """`Profile.load`, with its device made known. Raises ProfileError, InputError, UnknownNameError."""
    found = Profile.load(path_or_name)
    add_device_of(found)
    return found


def add_device_of(profile: Profile) -> None:
    """Make the device of ``profile`` known, where it carries one. Raises ProfileError, InputError."""
    spec = device_of(profile.manifest, str(profile.folder / "manifest.json"))
    if spec is not None:
        add_device(spec)


def device_of(manifest: Manifest, where: str) -> GpuSpec | None:
    """The device that a profile describes; None where it names one of the catalogue."""
    content = manifest.origin.get(DEVICE_SPEC)
    if content is None or content == {}:
        return None
    spec = read_spec(content, where=f"{where}: origin.{DEVICE_SPEC}")
    if spec.name != manifest.gpu:
        raise ProfileError(f"measured on {manifest.gpu!r}, but {DEVICE_SPEC} describes {spec.name!r}", where=where)
    return spec


def devices_on_disk() -> Iterator[GpuSpec]:
    """Devices of all profiles in the search path; a profile that cannot be used brings none."""
    for item in list_profiles():
        if item.manifest is not None:
            try:
                spec = device_of(item.manifest, str(item.folder))
            except CostplanError:
                continue
            if spec is not None:
                yield spec
