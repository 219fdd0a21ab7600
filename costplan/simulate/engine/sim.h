/* State of one run. Every field is 8 bytes wide and the host fills it by name: `fast_layout.py` reads this file. */
#ifndef SIM_H
#define SIM_H

typedef long long i64;
typedef int i32;
typedef double f64;

#define NEVER 0x7fffffffffffffffLL
#define AT(type, field) ((type *)(unsigned long)(field))

enum { IDLE, WAITING, PREFILLING, LOADING, DECODING };

/* A request. While it decodes, its tokens grow by one per decode step since `join_step`. */
typedef struct {
    i64 seqno;       /* order of admission */
    i64 join_step, finish_step;
    i64 tokens, generated; /* at join_step, or now if it does not decode */
    i64 goal, blocks, last_token;
    i64 window;      /* first decode step whose duration is a gap of this request; NEVER before its first one */
    i32 held, state, next, prev;
    i32 heap_at, swapped, paid, rank;
} Seq;

typedef struct {
    /* inputs: requests */
    i64 n, arrival, isl, osl, cls, unit_ids, unit_offsets;
    i64 units, unit_tokens, unit_blocks;
    i64 classes, class_rank, class_tenant, ranks, tenants, bucket_rate, bucket_burst;
    i64 concurrency, think;
    /* inputs: rules and limits */
    i64 mixed, chunked, static_batch, reserve_output, reserve_permille, swap;
    i64 max_running, max_tokens, num_blocks, block_size, watermark, swap_ticks;
    /* inputs: step table */
    i64 t_tokens, t_seqs, t_host, kv_knots, num_knots, t_decode, t_slope, prefill_floor;
    i64 axis_s, num_s, axis_q, num_q, axis_c, num_c, t_prefill;
    /* outputs per request */
    i64 admitted, first, finish, max_gap, preempted;
    /* outputs over the run */
    i64 steps, decode_steps, prefill_steps, decode_tokens, decode_kv_tokens, prefill_tokens;
    i64 prefill_context_tokens, prefill_seqs, prompt_tokens, hit_tokens, preemptions, swapped_blocks;
    i64 peak_blocks, peak_running, busy_ticks, end_ticks;
    f64 running_area, held_area;
    i64 gaps;
    /* work space */
    i64 seqs, wait_head, wait_tail, run_head, run_tail, bucket, bucket_time;
    i64 phase, heap, fresh, batch, gap_step, gap_ticks, gap_keep, gap_capacity;
    i64 users, node_next, node_prev, node_count, node_free;
    /* state */
    i64 now, next_arrival, sent, done, running, partial, gate, admissions;
    i64 decoding, kv_tokens, step, last_decode_end, heap_size, fresh_size, gap_size;
    i64 queue_head, queue_tail, node_unused, free_blocks, duplicates, held, owed;
    i64 budget, batch_size, batch_tokens, batch_context, swap_blocks, swapped_in, stuck;
} Sim;

#endif
