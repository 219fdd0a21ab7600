"""Where the CUDA backends live: ``(name, module:class)``."""

from __future__ import annotations

_HERE = "costplan.kernels"

CUDA: tuple[tuple[str, str], ...] = tuple((name, f"{_HERE}.{place}") for name, place in (
    ("torch-gemm", "cuda_gemm:CudaGemm"),
    ("torch-fp8-tensor", "cuda_fp8:CudaFp8Tensor"),
    ("torch-fp8-row", "cuda_fp8:CudaFp8Row"),
    ("torch-fp8-block", "cuda_fp8:CudaFp8Block"),
    ("torch-int8", "cuda_int:CudaInt8"),
    ("torch-int4", "cuda_int:CudaInt4"),
    ("torch-nvfp4", "cuda_nvfp4:CudaNvfp4"),
    ("torch-moe", "cuda_moe:CudaMoe"),
    ("torch-moe-fp8", "cuda_moe:CudaMoeFp8"),
    ("torch-elementwise", "cuda_elementwise:CudaElementwise"),
    ("sdpa-flash", "sdpa_cuda:SdpaFlash"),
    ("sdpa-cudnn", "sdpa_cuda:SdpaCudnn"),
    ("sdpa-efficient", "sdpa_cuda:SdpaEfficient"),
    ("fa2-torch", "fa2_torch:Fa2Torch"),
    ("flex", "flex_cuda:FlexCuda"),
    ("fa3-vllm", "fa3_vllm:Fa3Vllm"),
    ("fa3-mla", "mla_fa3:Fa3Mla"),
    ("fa3-upstream", "fa3_upstream:Fa3Upstream"),
    ("fa3-fwd", "fa3_fwd:Fa3Fwd"),
    ("fa3-fwd-unpacked", "fa3_fwd:Fa3FwdUnpacked"),
    ("fa2", "fa2_package:Fa2Package"),
    ("fa4", "fa4:Fa4"),
    ("flashinfer-decode", "flashinfer_decode:FlashInferDecode"),
    ("flashinfer-decode-tc", "flashinfer_decode:FlashInferDecodeTensor"),
    ("flashinfer-fa2", "flashinfer_prefill:FlashInferFa2"),
    ("flashinfer-fa3", "flashinfer_prefill:FlashInferFa3"),
    ("flashinfer-mla", "flashinfer_mla:FlashInferMla"),
    ("flashmla", "flashmla:FlashMla"),
    ("triton-unified", "triton_unified:TritonUnified"),
    ("triton-decode", "triton_decode:TritonDecode"),
    ("triton-mla", "triton_mla:TritonMla"),
    ("vllm-cutlass-fp8", "vllm_gemm:VllmCutlassFp8"),
    ("vllm-marlin", "vllm_gemm:VllmMarlin"),
    ("deepgemm", "deepgemm:DeepGemm"),
    ("deepgemm-moe", "deepgemm_moe:DeepGemmMoe"),
    ("nccl", "nccl:Nccl"),
))
