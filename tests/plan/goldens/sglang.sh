# SGLang 0.5.23: 3 replica(s), each on 2 x H200 SXM 141GB. Written by costplan emit.
# - SGLang quantises the 16-bit checkpoint to fp8 at start-up, uncalibrated: check quality
# - run it 3 times behind one load balancer; a machine holds 4 replicas, each with its own CUDA_VISIBLE_DEVICES and --port
python3 -m sglang.launch_server \
  --model-path meta-llama/Llama-3.1-8B-Instruct \
  --host 0.0.0.0 \
  --port 30000 \
  --tp-size 2 \
  --quantization fp8 \
  --kv-cache-dtype fp8_e4m3 \
  --page-size 64 \
  --mem-fraction-static 0.88 \
  --context-length 32768 \
  --max-running-requests 256 \
  --chunked-prefill-size 8192 \
  --max-prefill-tokens 8192 \
  --disable-radix-cache
