"""Profiles on disk: whole or not at all, found by name, and any damage is an error, never a wrong number."""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from costplan.core.errors import CostplanError, InputError, ProfileError, UnknownNameError
from costplan.profile.store import Profile, find_profile, list_profiles, search_path, write_profile
from costplan.profile.table import Table


@pytest.fixture(scope="module")
def written(make: SimpleNamespace, tmp_path_factory: pytest.TempPathFactory) -> Profile:
    base = tmp_path_factory.mktemp("profiles")
    decode = make.table("attn_decode", [
        {"batch": b, "kv_len": 1024, "num_heads": 8, "latency_s": b * 1e-6} for b in (1, 2, 4)])
    return write_profile(base / "gpu1-vllm", make.manifest(), [make.gemm((1, 1e-5), (2, 2e-5)), decode])


def _copy(written: Profile, target: Path, change: dict[str, bytes]) -> Path:
    target.mkdir()
    for file in written.folder.iterdir():
        (target / file.name).write_bytes(change.get(file.name, file.read_bytes()))
    return target


def _edited(written: Profile, edit: Any, *, resign: bool) -> bytes:
    content = json.loads((written.folder / "manifest.json").read_text())
    edit(content)
    if resign:
        plain = {k: v for k, v in content.items() if k != "sha256"}
        text = json.dumps(plain, sort_keys=True, separators=(",", ":"))
        content["sha256"] = hashlib.sha256(text.encode()).hexdigest()
    return json.dumps(content).encode()


def test_what_was_written_is_read(written: Profile) -> None:
    p = Profile.load(written.folder)
    assert (p.name, p.gpu, p.engine, p.families) == ("gpu1-vllm", "gpu1", "vllm", ("attn_decode", "gemm"))
    assert p.versions == {"nccl": "2.29", "driver": None}
    gemm = p.table("gemm")
    assert gemm is not None and gemm is p.table("gemm")
    assert gemm.columns["m"].tolist() == [1, 2]
    assert np.allclose(np.asarray(gemm.columns["latency_s"], dtype=float), [1e-5, 2e-5], rtol=6e-4)
    assert gemm.text("dtype") == ["bf16", "bf16"]
    assert p.table("moe") is None


def test_an_unknown_family_names_the_near_miss(written: Profile) -> None:
    with pytest.raises(UnknownNameError, match="attn_decod") as e:
        written.table("attn_decod")
    assert "attn_decode" in e.value.nearest


@given(file=st.sampled_from(["gemm.npz", "attn_decode.npz"]), where=st.floats(0, 1, exclude_max=True),
       bit=st.integers(0, 7), cut=st.booleans())
def test_any_flip_or_cut_of_a_table_is_seen(written: Profile, tmp_path_factory: pytest.TempPathFactory, file: str,
                                            where: float, bit: int, cut: bool) -> None:
    data = bytearray((written.folder / file).read_bytes())
    at = int(where * len(data))
    if cut:
        del data[at:]
    else:
        data[at] ^= 1 << bit
    folder = _copy(written, tmp_path_factory.mktemp("x") / "p", {file: bytes(data)})
    with pytest.raises(ProfileError, match="damaged") as e:
        Profile.load(folder).table(file.removesuffix(".npz"))
    assert file in str(e.value.where)
    assert "costplan profile import" in str(e.value.hint)


@given(where=st.floats(0, 1, exclude_max=True), flip=st.integers(0, 255), cut=st.booleans())
def test_a_damaged_manifest_is_seen_or_says_the_same(written: Profile, tmp_path_factory: pytest.TempPathFactory,
                                                     where: float, flip: int, cut: bool) -> None:
    data = bytearray((written.folder / "manifest.json").read_bytes())
    at = int(where * len(data))
    if cut:
        del data[at:]
    else:
        data[at] ^= flip
    folder = _copy(written, tmp_path_factory.mktemp("x") / "p", {"manifest.json": bytes(data)})
    try:
        assert Profile.load(folder).manifest == written.manifest
    except ProfileError as e:
        assert e.where and e.where.endswith("manifest.json")


@pytest.mark.parametrize(("edit", "says"), [
    (lambda m: m["tables"]["gemm"].update(rows=3), "was changed after it was written"),
    (lambda m: m.update(gpu="other"), "was changed after it was written"),
    (lambda m: m["tables"]["gemm"].update(sha256="0" * 64), "was changed after it was written"),
])
def test_hand_edits_show(written: Profile, tmp_path: Path, edit: Any, says: str) -> None:
    folder = _copy(written, tmp_path / "p", {"manifest.json": _edited(written, edit, resign=False)})
    with pytest.raises(ProfileError, match=says):
        Profile.load(folder)


@pytest.mark.parametrize(("edit", "says"), [
    (lambda m: m.update(schema_version=2), "written for schema 2"),
    (lambda m: m.update(schema_version="1"), "schema_version is missing"),
    (lambda m: m["tables"]["gemm"].update(file="../gemm.npz"), "not a plain file name"),
    (lambda m: m["tables"]["gemm"].update(file="/etc/passwd"), "not a plain file name"),
    (lambda m: m["tables"]["gemm"].update(file="gemm.npz\n"), "not a plain file name"),
    (lambda m: m["tables"]["gemm"].update(rows=10**9), "is more than"),
    (lambda m: m["tables"]["gemm"].update(rows=-1), "must not be negative"),
    (lambda m: m["tables"]["gemm"].update(rows=True), "must be a whole number"),
    (lambda m: m["tables"]["gemm"]["vocab"].pop("dtype"), "vocab must name"),
    (lambda m: m["tables"]["gemm"]["vocab"].update(dtype=[1]), "must be a list of texts"),
    (lambda m: m["tables"].update(warp=m["tables"]["gemm"]), "unknown kernel family"),
    (lambda m: m.update(name="../p"), "is not a profile name"),
    (lambda m: m.update(tables=[]), "tables must be a mapping"),
    (lambda m: m.pop("licence"), "licence must be a text"),
    (lambda m: m["versions"].update(nccl=2.29), "versions.nccl must be a text"),
])
def test_wrong_content_is_refused_even_if_signed(written: Profile, tmp_path: Path, edit: Any, says: str) -> None:
    folder = _copy(written, tmp_path / "p", {"manifest.json": _edited(written, edit, resign=True)})
    with pytest.raises(ProfileError, match=says):
        Profile.load(folder)


@pytest.mark.parametrize("edit", [lambda m: m["tables"]["gemm"].update(rows=1),
                                  lambda m: m["tables"]["gemm"].update(vocab={"dtype": [], "kernel": []})])
def test_a_signed_manifest_that_the_table_contradicts(written: Profile, tmp_path: Path, edit: Any) -> None:
    folder = _copy(written, tmp_path / "p", {"manifest.json": _edited(written, edit, resign=True)})
    with pytest.raises(ProfileError, match=r"gemm\.npz"):
        Profile.load(folder).table("gemm")


@pytest.mark.parametrize("text", [b"", b"[]", b"\xff\xfe", b"{" * 5000, b'{"a": NaN}', b'{"a": 1, "a": 2}',
                                  b"[" * 100_000, b'{"schema_version": 1}'])
def test_what_is_no_manifest(tmp_path: Path, text: bytes) -> None:
    (tmp_path / "manifest.json").write_bytes(text)
    with pytest.raises(ProfileError):
        Profile.load(tmp_path)


def test_sizes_are_capped_by_stat(written: Profile, tmp_path: Path) -> None:
    folder = _copy(written, tmp_path / "p", {})
    with (folder / "gemm.npz").open("r+b") as f:
        f.truncate(1 << 30)
    with pytest.raises(ProfileError, match="larger than 256 MiB"):
        Profile.load(folder).table("gemm")
    with (folder / "manifest.json").open("r+b") as f:
        f.truncate(1 << 30)
    with pytest.raises(ProfileError, match="larger than 4 MiB"):
        Profile.load(folder)


def test_a_missing_table_file_is_named(written: Profile, tmp_path: Path) -> None:
    folder = _copy(written, tmp_path / "p", {})
    (folder / "gemm.npz").unlink()
    p = Profile.load(folder)
    assert p.table("attn_decode") is not None
    with pytest.raises(ProfileError, match="cannot read the table"):
        p.table("gemm")


def test_nothing_is_overwritten_or_half_written(make: SimpleNamespace, written: Profile, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="exists already"):
        write_profile(written.folder, make.manifest(), [])
    bad = make.gemm((1, 1e-5))
    broken = Table("gemm", {**bad.columns, "latency_s": np.array([float("nan")])}, bad.codes, bad.vocab)
    with pytest.raises(ProfileError, match="positive and finite"):
        write_profile(tmp_path / "new", make.manifest(), [make.gemm((1, 1e-5)), broken])
    assert list(tmp_path.iterdir()) == []


def test_the_same_tables_give_the_same_bytes(make: SimpleNamespace, written: Profile, tmp_path: Path) -> None:
    tables = [t for f in written.families if (t := written.table(f))]
    again = write_profile(tmp_path / "gpu1-vllm", make.manifest(), tables)
    for file in written.folder.iterdir():
        assert (again.folder / file.name).read_bytes() == file.read_bytes()


def test_profiles_are_found_by_name_and_by_gpu(make: SimpleNamespace, written: Profile, tmp_path: Path) -> None:
    base = written.folder.parent
    own = write_profile(tmp_path / "mine", make.manifest("mine"), [make.gemm((1, 3e-5))])
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "manifest.json").write_text("{")
    (tmp_path / "other").mkdir()
    assert Profile.load("gpu1-vllm", folders=[base]).folder == written.folder
    found = find_profile("gpu1", "vllm", folders=[tmp_path, base])
    assert found is not None and found.folder == written.folder
    assert (p := find_profile("gpu1", "vllm", folders=[tmp_path])) is not None and p.folder == own.folder
    assert find_profile("gpu1", "sglang", folders=[base]) is None
    listed = {p.name: p for p in list_profiles([tmp_path, base])}
    assert sorted(listed) == ["broken", "gpu1-vllm", "mine"]
    assert listed["broken"].manifest is None and isinstance(listed["broken"].error, ProfileError)


@pytest.mark.parametrize("name", ["gpu1-vlm", "../gpu1-vllm", "nowhere/at/all"])
def test_a_name_that_is_no_profile(written: Profile, name: str) -> None:
    with pytest.raises(CostplanError) as e:
        Profile.load(name, folders=[written.folder.parent])
    assert e.value.hint


def test_the_users_folders_come_before_the_shipped_ones(tmp_path: Path) -> None:
    path = search_path({"COSTPLAN_PROFILES": f"{tmp_path}/a", "XDG_DATA_HOME": str(tmp_path)})
    assert path[:2] == (tmp_path / "a", tmp_path / "costplan" / "profiles")
    assert path[-1].name == "profiles"


def test_loading_imports_nothing_heavy(written: Profile) -> None:
    code = ("import sys; from costplan.profile.store import Profile; p = Profile.load(sys.argv[1]);"
            "[p.table(f) for f in p.families];"
            "print(sorted({'pandas', 'pydantic', 'pyarrow', 'yaml', 'torch'} & set(sys.modules)))")
    done = subprocess.run([sys.executable, "-c", code, str(written.folder)], capture_output=True, text=True, check=True,
                          cwd=Path(__file__).parents[2])
    assert done.stdout.strip() == "[]"
