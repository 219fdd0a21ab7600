# vLLM 0.33.0: 1 replica(s), each on 1 x B200 SXM 180GB. Written by costplan emit.
# - the plan is for nvfp4 weights, which vLLM does not make from llama-3.1-8b at start-up: set MODEL to a checkpoint that has them
vllm serve "${MODEL:?set it to a nvfp4 checkpoint}" \
  --host 0.0.0.0 \
  --port 8000 \
  --tensor-parallel-size 1 \
  --kv-cache-dtype bfloat16 \
  --block-size 16 \
  --gpu-memory-utilization 0.92 \
  --max-model-len 32768 \
  --max-num-seqs 256 \
  --max-num-batched-tokens 8192 \
  --enable-prefix-caching \
  --enable-chunked-prefill
