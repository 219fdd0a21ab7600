"""Record the signatures of the kernel libraries that costplan calls, as JSON for tests/kernels/test_cuda_binding.py.

    pip download --no-deps vllm==0.26.0 fa3-fwd==0.0.3 flashinfer-python==0.6.14 flash-attn-4==4.0.0b36 -d wheels
    FLASH_ATTENTION_SKIP_CUDA_BUILD=TRUE pip download --no-deps --no-binary :all: flash-attn==2.8.3 -d wheels
    python benchmarks/record_signatures.py wheels tests/kernels/data/signatures.json [--compiled FOLDER]

Python signatures are read from the sources inside the archives; nothing is installed or run. ``--compiled`` loads the
shared libraries unpacked below FOLDER (needs torch with CUDA 13 and a libcuda.so.1) for the schemas of their operators
and the docstrings of DeepGEMM; without it those that were recorded before are kept.
"""

from __future__ import annotations

import argparse
import ast
import json
import re
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FLASH = "vllm/vllm_flash_attn/flash_attn_interface.py"
WANTED: tuple[tuple[str, str, str, tuple[str, ...]], ...] = (
    ("vllm", FLASH, "vllm.vllm_flash_attn.flash_attn_interface", ("flash_attn_varlen_func", "get_scheduler_metadata")),
    ("vllm", "vllm/v1/attention/ops/triton_unified_attention.py", "vllm.v1.attention.ops.triton_unified_attention",
     ("unified_attention",)),
    ("vllm", "vllm/v1/attention/ops/triton_decode_attention.py", "vllm.v1.attention.ops.triton_decode_attention",
     ("decode_attention_fwd",)),
    ("fa3_fwd", "fa3_fwd_interface.py", "fa3_fwd_interface", ("flash_attn_varlen_func", "flash_attn_with_kvcache")),
    ("flash_attn", "hopper/flash_attn_interface.py", "flash_attn_interface",
     ("flash_attn_varlen_func", "flash_attn_with_kvcache")),
    ("flash_attn", "flash_attn/flash_attn_interface.py", "flash_attn",
     ("flash_attn_varlen_func", "flash_attn_with_kvcache")),
    ("flash_attn_4", "flash_attn/cute/interface.py", "flash_attn.cute.interface", ("flash_attn_varlen_func",)),
    ("flashinfer_python", "flashinfer/decode.py", "flashinfer", tuple(
        f"BatchDecodeWithPagedKVCacheWrapper.{m}" for m in ("__init__", "plan", "run"))),
    ("flashinfer_python", "flashinfer/prefill.py", "flashinfer", tuple(
        f"BatchPrefillWithPagedKVCacheWrapper.{m}" for m in ("__init__", "plan", "run"))),
    ("flashinfer_python", "flashinfer/mla/_core.py", "flashinfer.mla", tuple(
        f"BatchMLAPagedAttentionWrapper.{m}" for m in ("__init__", "plan", "run"))),
)
"""Package, file in its archive, module as costplan imports it, functions or methods."""
OPERATORS = ("_C::cutlass_scaled_mm", "_C::marlin_gemm", "_C::gptq_marlin_repack", "_flashmla_C::dense_decode_fwd")
DEEPGEMM = ("fp8_gemm_nt", "m_grouped_fp8_gemm_nt_contiguous", "get_mk_alignment_for_contiguous_layout")


def main() -> None:
    """Write the JSON file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("archives", type=Path)
    parser.add_argument("out", type=Path)
    parser.add_argument("--compiled", type=Path)
    given = parser.parse_args()
    kept = json.loads(given.out.read_text(encoding="utf-8")) if given.out.is_file() else {}
    content = {"functions": dict(python_signatures(given.archives)), "operators": kept.get("operators", {}),
               "documented": kept.get("documented", {})}
    if given.compiled:
        content["operators"], content["documented"] = operators(given.compiled), documented(given.compiled)
    given.out.write_text(json.dumps(content, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    sys.stdout.write(f"{given.out}: {', '.join(f'{len(v)} {k}' for k, v in content.items())}\n")


def python_signatures(folder: Path) -> Iterator[tuple[str, dict[str, Any]]]:
    """``module:name`` and the signature of each wanted function."""
    for package, file, module, names in WANTED:
        version, source = member(folder, package, file)
        tree = ast.parse(source)
        for name in names:
            arguments = definition(tree, name.split(".")).args
            yield f"{module}:{name}", {"package": package.replace("_", "-"), "version": version,
                                       "parameters": parameters(arguments)}


def member(folder: Path, package: str, file: str) -> tuple[str, str]:
    """Version of the archive of ``package``, and one of its text files."""
    found = [p for p in sorted(folder.iterdir()) if re.match(rf"{package}-\d", p.name)]
    if len(found) != 1:
        sys.exit(f"{folder}: {len(found)} archives of {package}")
    version = re.split(r"-(\d[^-]*)", found[0].name)[1].removesuffix(".tar.gz")
    if found[0].suffix == ".whl":
        with zipfile.ZipFile(found[0]) as z:
            return version, z.read(file).decode()
    with tarfile.open(found[0]) as t:
        stream = t.extractfile(f"{package}-{version}/{file}")
        assert stream is not None
        return version, stream.read().decode()


def definition(tree: ast.Module, path: list[str]) -> ast.FunctionDef:
    """The function, or the last definition of a method (those before are overloads for type checkers)."""
    body: list[ast.stmt] = tree.body
    for name in path[:-1]:
        body = next(n.body for n in body if isinstance(n, ast.ClassDef) and n.name == name)
    return [n for n in body if isinstance(n, ast.FunctionDef) and n.name == path[-1]][-1]


def parameters(a: ast.arguments) -> list[dict[str, str]]:
    """Name, kind and default (as source) of each parameter, in order, without ``self``."""
    out: list[dict[str, str]] = []
    positional = [*a.posonlyargs, *a.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(a.defaults)) + list(a.defaults)
    for arg, default in zip(positional, defaults, strict=True):
        out.append(parameter(arg, "POSITIONAL_OR_KEYWORD", default))
    if a.vararg:
        out.append(parameter(a.vararg, "VAR_POSITIONAL", None))
    for arg, default in zip(a.kwonlyargs, a.kw_defaults, strict=True):
        out.append(parameter(arg, "KEYWORD_ONLY", default))
    if a.kwarg:
        out.append(parameter(a.kwarg, "VAR_KEYWORD", None))
    return [p for p in out if p["name"] != "self"]


def parameter(arg: ast.arg, kind: str, default: ast.expr | None) -> dict[str, str]:
    """One parameter."""
    return {"name": arg.arg, "kind": kind, **({} if default is None else {"default": ast.unparse(default)})}


def operators(folder: Path) -> dict[str, str]:
    """Schemas of the wanted operators of the shared libraries below ``folder``."""
    import torch

    for path in sorted(folder.rglob("*.abi3.so")):
        torch.ops.load_library(str(path))
    schemas = {s.name: str(s) for s in torch._C._jit_get_all_schemas() if s.name in OPERATORS and not s.overload_name}
    return {name: re.sub(r"\(\$(\d)! -> \)", lambda m: f"({'abc'[int(m[1])]}!)", s) for name, s in schemas.items()}


def documented(folder: Path) -> dict[str, str]:
    """First lines of DeepGEMM's docstrings, which pybind11 fills with the signature."""
    sys.path.insert(0, str(next(folder.rglob("deep_gemm/__init__.py")).parents[1]))
    import deep_gemm

    return {name: str(getattr(deep_gemm, name).__doc__).splitlines()[0] for name in DEEPGEMM}


if __name__ == "__main__":
    main()
