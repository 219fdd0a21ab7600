"""NVIDIA's AIConfigurator (its closed form) on the closed-loop rows of a table of measurements, in one process.

Run with the Python of an environment that holds aisimulate, which need not hold costplan:
PEER/bin/python benchmarks/peer_estimate.py TUNE.csv PEER.csv
Each row is asked twice: with its format as published, and with the most favourable one (static FP8 scales and FP8 KV
cache where the label says FP8 or FP4). What it refuses for lack of measured kernels is asked again in its hybrid mode.
Rows come in the order of a hash of their id, so that the first N are a fair sample (the third argument; a question
takes seconds). Writes one line per row and label; `accuracy_page.py` puts them beside costplan's on the same rows.
"""

from __future__ import annotations

import csv
import hashlib
import sys
from pathlib import Path

MODELS = {
    "meta-llama/Llama-3.1-8B-Instruct": "meta-llama/Meta-Llama-3.1-8B",
    "meta-llama/Llama-3.1-70B-Instruct": "meta-llama/Meta-Llama-3.1-70B",
    "meta-llama/Llama-3.1-405B-Instruct": "meta-llama/Meta-Llama-3.1-405B",
    "mistralai/Mixtral-8x7B-Instruct-v0.1": "mistralai/Mixtral-8x7B-v0.1",
    "mistralai/Mixtral-8x22B-Instruct-v0.1": "mistralai/Mixtral-8x22B-v0.1",
}
SYSTEMS = {"a100_80gb_sxm": "a100_sxm", "a100_40gb_sxm": "a100_sxm", "a100_80gb_pcie": "a100_pcie",
           "rtx_pro_6000": "rtx_pro_6000_server", "h100_nvl": "h100_pcie"}
FORMATS = {"bf16": ("bfloat16", "bfloat16"), "fp16": ("bfloat16", "bfloat16"), "fp8": ("fp8", "fp8"),
           "fp8_block": ("fp8_block", "fp8_block"), "nvfp4": ("nvfp4", "nvfp4"), "int4": ("int4_wo", "int4_wo"),
           "int8": ("int8_wo", None), "mxfp4": (None, None)}
"""GEMM and expert formats by label; None: what the checkpoint's own configuration says."""
FIELDS = ("id", "label", "mode", "ttft_s", "tpot_s", "why")


def question(r: dict[str, str], favourable: bool) -> dict[str, object]:
    """Arguments of `cli_estimate` for one row."""
    gemm, experts = FORMATS[r["weight_dtype"]]
    kv = "fp8" if r["kv_dtype"] == "fp8" else None
    if favourable and r["weight_dtype"] in ("fp8", "nvfp4"):
        gemm, kv = "fp8_static" if gemm == "fp8" else gemm, "fp8"
    tp, dp, ep = int(r["tp"]), int(r["dp"] or 1), int(float(r["ep"] or 1))
    inner = dp if "attention_dp" in r["engine_args"] or "enable_dp_attention" in r["engine_args"] else 1
    lanes = dp  # replicas or attention data parallel: each serves its share
    return {"model_path": MODELS.get(r["model"], r["model"]), "system_name": SYSTEMS.get(r["gpu"], r["gpu"]),
            "backend_name": r["engine"], "isl": round(float(r["isl"])), "osl": round(float(r["osl"])),
            "batch_size": max(1, round(float(r["load_value"]) / lanes)), "tp_size": tp, "attention_dp_size": inner,
            "moe_ep_size": ep, "moe_tp_size": max(1, tp * inner // ep), "gemm_quant_mode": gemm,
            "moe_quant_mode": experts, "kvcache_quant_mode": kv}


def answer(r: dict[str, str], favourable: bool) -> tuple[str, float | None, float | None, str]:
    """Mode, TTFT and TPOT in seconds, and why there is none."""
    from aisimulate.legacy_cli.api import cli_estimate

    why = ""
    for mode in ("SILICON", "HYBRID"):
        try:
            asked = {k: v for k, v in question(r, favourable).items() if v is not None}
            found = cli_estimate(**asked, database_mode=mode)
        except BaseException as e:  # the peer ends the process for some questions
            why = why or f"{type(e).__name__}: {e}".replace("\n", " ")[:160]
            continue
        return mode, found.ttft / 1e3, found.tpot / 1e3, why
    return "refused", None, None, why


def main(tune: str, output: str, count: str = "1000000") -> None:
    with Path(tune).open(newline="", encoding="utf-8") as f:
        rows = [r for r in csv.DictReader(f) if r["load_kind"] == "concurrency" and r["engine"] in
                ("vllm", "sglang", "trtllm") and "1" in (r["score_ttft"], r["score_tpot"])]
    rows = sorted(rows, key=lambda r: hashlib.md5(r["id"].encode(), usedforsecurity=False).digest())[:int(count)]
    with Path(output).open("w", newline="", encoding="utf-8") as f:
        out = csv.writer(f)
        out.writerow(FIELDS)
        for r in rows:
            first = answer(r, favourable=False)
            out.writerow((r["id"], "published", *first))
            same = question(r, favourable=True) == question(r, favourable=False)
            out.writerow((r["id"], "favourable", *(first if same else answer(r, favourable=True))))
            f.flush()


if __name__ == "__main__":
    main(*sys.argv[1:4])
