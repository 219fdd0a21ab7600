"""Carry kernel libraries to a GPU machine without a network: collect them here, unpack them there (docs/gpu-run.md).

    python benchmarks/gpu_kit.py collect .kit            # with a package index; two folders, about 80 MiB
    python benchmarks/gpu_kit.py unpack .kit/deps        # on the GPU machine, once per folder; prints what to source

For Python 3.12, torch 2.11 with CUDA 13, an H100 or H200. Of vLLM only compiled kernels and the Python files that call
them travel (its wheel has 290 MiB); what those files import of the rest of vLLM is written out in ``SHIMS``.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from pathlib import Path

VLLM = "vllm==0.26.0"  # the last one for torch 2.11
DEPS = ("pydantic", "typer", "rich", "pandas", "pyyaml", "wasmtime", "nvidia-ml-py", "einops")
CORE = ("fa3-fwd==0.0.3", "flashinfer-python==0.6.14", "apache-tvm-ffi==0.1.15.post2", "ninja==1.13.2", "requests",
        "urllib3", "idna", "certifi", "charset-normalizer", "tqdm", "packaging", "tabulate", "click", "filelock")
PLATFORMS = ("manylinux2014_x86_64", *(f"manylinux_2_{n}_x86_64" for n in (17, 24, 27, 28, 31, 34, 35, 39)),
             "manylinux1_x86_64")
OPS = "vllm/v1/attention/ops"
KEPT = ("vllm/vllm_flash_attn/_vllm_fa3_C.abi3.so", "vllm/vllm_flash_attn/flash_attn_interface.py",
        "vllm/_flashmla_C.abi3.so", f"{OPS}/triton_unified_attention.py", f"{OPS}/triton_attention_helpers.py",
        f"{OPS}/triton_decode_attention.py", f"{OPS}/triton_merge_attn_states.py", "vllm/third_party/deep_gemm/*",
        "vllm-0.26.0.dist-info/METADATA", "vllm-0.26.0.dist-info/licenses/*")
LEFT_OUT = ("*/deep_gemm/_C.cpython-310-*", "*/deep_gemm/_C.cpython-311-*", "*/deep_gemm/_C.cpython-313-*",
            "*/deep_gemm/_C.cpython-314-*")
SHIMS = {
    "vllm/__init__.py": "", "vllm/v1/__init__.py": "", "vllm/v1/attention/__init__.py": "", f"{OPS}/__init__.py": "",
    "vllm/vllm_flash_attn/__init__.py": "", "vllm/third_party/__init__.py": "", "vllm/utils/__init__.py": "",
    "vllm/logger.py": "from logging import getLogger as init_logger\n",
    "vllm/envs.py": "VLLM_BATCH_INVARIANT = False\n",
    "vllm/utils/math_utils.py": "def cdiv(a, b):\n    return -(a // -b)\n",
    "vllm/triton_utils/__init__.py": "import triton\nimport triton.language as tl\n"
                                     "from triton.language.extra import libdevice as tldevice\n"
                                     "HAS_TRITON = True\nLOG2E = 1.4426950408889634\nLOGE2 = 0.6931471805599453\n",
    "vllm/v1/kv_cache_interface.py": "from enum import IntEnum\n\n\nclass KVQuantMode(IntEnum):\n    NONE = 0\n"
                                     "    FP8_PER_TENSOR = 1\n    INT8_PER_TOKEN_HEAD = 2\n    FP8_PER_TOKEN_HEAD = 3\n"
                                     "    INT4_PER_TOKEN_HEAD = 4\n    NVFP4 = 5\n",
    "vllm/platforms/__init__.py": """import torch


class _Cuda:
    def __getattr__(self, name):
        if name in ("is_rocm", "is_xpu", "is_cpu", "is_tpu"):
            return lambda: False
        raise AttributeError(name)

    def is_cuda(self):
        return True

    def fp8_dtype(self):
        return torch.float8_e4m3fn

    def get_device_capability(self, device=0):
        return torch.cuda.get_device_capability(device) if torch.cuda.is_available() else (9, 0)

    def has_device_capability(self, wanted, device=0):
        major, minor = self.get_device_capability(device)
        return 10 * major + minor >= (wanted if isinstance(wanted, int) else 10 * wanted[0] + wanted[1])

    def is_device_capability_family(self, wanted, device=0):
        return self.get_device_capability(device)[0] == wanted // 10


current_platform = _Cuda()
"""}
ENV = """# source this before benchmarks/gpu_day.py
export PYTHONPATH={site}${{PYTHONPATH:+:$PYTHONPATH}}
export LIBRARY_PATH={lib}${{LIBRARY_PATH:+:$LIBRARY_PATH}}
export CUDA_HOME={cuda}
{headers}
export FLASHINFER_WORKSPACE_BASE={cache} FLASHINFER_DISABLE_VERSION_CHECK=1 DG_JIT_CACHE_DIR={cache}/deepgemm
export TRITON_CACHE_DIR={cache}/triton TORCHINDUCTOR_CACHE_DIR={cache}/inductor
"""


def collect(kit: Path) -> None:
    """Download and pack two folders, ``deps`` and ``core``, each small enough for one transfer of 64 MiB."""
    deps, core = kit / "deps", kit / "core"
    download(deps, DEPS, deep=True)
    for wheel in deps.glob("numpy-*.whl"):
        wheel.unlink()  # torch brings its own
    download(core, CORE)
    with tempfile.TemporaryDirectory() as name:
        download(Path(name), (VLLM,))
        pack_vllm(next(Path(name).glob("vllm-*.whl")), core / "vllm-kernels.tar.xz")
    shrink(next(core.glob("fa3_fwd-*.whl")))
    for folder in (deps, core):
        size = sum(p.stat().st_size for p in folder.iterdir()) / 2**20
        say(f"{folder}: {size:.1f} MiB" + ("  TOO LARGE for one transfer of 64 MiB" if size > 62 else ""))


def download(folder: Path, packages: tuple[str, ...], *, deep: bool = False) -> None:
    """Wheels for CPython 3.12 on Linux; ``deep`` with what they need."""
    folder.mkdir(parents=True, exist_ok=True)
    command = [sys.executable, "-m", "pip", "download", "-q", "-d", str(folder), "--only-binary=:all:",
               "--python-version", "3.12", *(() if deep else ("--no-deps",)),
               *(word for p in PLATFORMS for word in ("--platform", p)), *packages]
    subprocess.run(command, check=True)


def pack_vllm(wheel: Path, out: Path) -> None:
    """The kernels of vLLM's wheel and the shims, as one archive. DeepGEMM becomes a package of its own."""
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(wheel) as z:
        root = Path(name)
        wanted = [n for n in z.namelist() if any(fnmatch.fnmatch(n, k) for k in KEPT)
                  and not any(fnmatch.fnmatch(n, k) for k in LEFT_OUT)]
        z.extractall(root, wanted)
        (root / "vllm/third_party/deep_gemm").rename(root / "deep_gemm")
        for path, text in SHIMS.items():
            (root / path).parent.mkdir(parents=True, exist_ok=True)
            (root / path).write_text(text, encoding="utf-8")
        with tarfile.open(out, "w:xz", preset=4) as t:
            t.add(root, arcname=".")


def shrink(wheel: Path) -> None:
    """A wheel as .tar.xz: compiled kernels become a third of their size in the wheel."""
    with tempfile.TemporaryDirectory() as name, zipfile.ZipFile(wheel) as z:
        z.extractall(name)
        with tarfile.open(wheel.with_suffix(".tar.xz"), "w:xz", preset=4) as t:
            t.add(name, arcname=".")
    wheel.unlink()


def unpack(folder: Path, home: Path) -> None:
    """Unpack one folder below ``home`` and write ``env.sh``. Packages that the machine has stay as they are."""
    site, lib, cache = home / "site", home / "lib", home / "cache"
    for made in (site, lib, cache):
        made.mkdir(parents=True, exist_ok=True)
    for archive in sorted(folder.glob("*.tar.xz")):
        with tarfile.open(archive) as t:
            t.extractall(site, filter="data")
    for wheel in sorted(folder.glob("*.whl")):
        if wheel.name.startswith(("fa3_fwd", "flashinfer", "apache")) or not installed(wheel):
            with zipfile.ZipFile(wheel) as z:
                z.extractall(site)
    cuda = cuda_home()
    link_driver(lib)
    headers = "" if (Path(cuda) / "include/curand_kernel.h").is_file() else header_path()
    text = ENV.format(site=site, lib=lib, cache=cache, cuda=cuda, headers=headers)
    (home / "env.sh").write_text(text, encoding="utf-8")
    say(f"source {home / 'env.sh'}")


def installed(wheel: Path) -> bool:
    """Whether the machine already has the package (any version, outside our own folder)."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        version(wheel.name.split("-")[0].replace("_", "-"))
    except PackageNotFoundError:
        return False
    return True


def cuda_home() -> str:
    """The folder with nvcc; /usr/local/cuda where none is found."""
    places = [os.environ.get("CUDA_HOME", ""), "/usr/local/cuda", "/usr/local/cuda-13.0"]
    return next((p for p in places if p and (Path(p) / "bin/nvcc").is_file()), "/usr/local/cuda")


def link_driver(lib: Path) -> None:
    """``libcuda.so`` without a version: every compilation at run time links against it."""
    for place in ("/usr/lib/x86_64-linux-gnu", "/usr/local/nvidia/lib64", "/usr/lib64"):
        found = Path(place) / "libcuda.so.1"
        if found.exists() and not (lib / "libcuda.so").exists():
            (lib / "libcuda.so").symlink_to(found)


def header_path() -> str:
    """Headers that a slim toolkit lacks (curand) lie in torch's own CUDA packages."""
    from importlib.util import find_spec

    spec = find_spec("nvidia")
    roots = spec.submodule_search_locations if spec else None
    places = [Path(p) / "cu13/include" for p in roots or ()]
    found = [p for p in places if (p / "curand_kernel.h").is_file()]
    return f"export CPATH={found[0]}${{CPATH:+:$CPATH}}" if found else ""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("collect", "unpack"))
    parser.add_argument("folder", type=Path)
    parser.add_argument("--home", type=Path, default=Path.home() / ".costplan-kit")
    given = parser.parse_args()
    if given.what == "collect":
        collect(given.folder)
    else:
        unpack(given.folder, given.home)


if __name__ == "__main__":
    main()
