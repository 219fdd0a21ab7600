/* The fast engine: the rules of `reference.py`, with O(1) work per step and one leap over equal decode steps. */
#include "sim.h"
#include "table.h"
#include "queue.h"
#include "admit.h"
#include "leap.h"

/* The last token of `index`; in a closed loop its client asks again. */
static void finish(Sim *s, i32 index) {
    AT(i64, s->finish)[index] = s->now;
    free_seq(s, index);
    s->done++;
    if (s->sent < s->n) AT(i64, s->arrival)[s->sent++] = s->now + s->think;
}

/* Tokens of the decode step that has just ended: gaps since the last one, and whoever is done. */
static void emit_decode(Sim *s) {
    i64 fresh = 0;
    s->step++;
    s->kv_tokens += s->decoding;
    s->owed -= s->decoding;
    for (i64 i = 0; i < s->fresh_size; i++) {
        i32 index = AT(i32, s->fresh)[i];
        Seq *q = seq_of(s, index);
        if (q->state != DECODING) continue;
        i64 gap = s->now - q->last_token, *longest = AT(i64, s->max_gap) + index;
        if (gap > *longest) *longest = gap;
        AT(i64, s->gaps)[gap_bin(gap)]++;
        q->window = s->step + 1;
        fresh++;
    }
    s->fresh_size = 0;
    if (s->decoding > fresh) {
        i64 gap = s->now - s->last_decode_end;
        AT(i64, s->gaps)[gap_bin(gap)] += s->decoding - fresh;
        push_gap(s, s->step, gap);
    }
    s->last_decode_end = s->now;
}

static void finish_decoded(Sim *s) {
    while (s->heap_size) {
        i32 index = AT(i32, s->heap)[0];
        if (seq_of(s, index)->finish_step != s->step) return;
        finish(s, index);
    }
}

/* First tokens (or the next one, after a preemption) of the prompts that this step has finished. */
static void emit_prefill(Sim *s) {
    for (i64 i = 0; i < s->batch_size; i++) {
        i32 index = AT(i32, s->batch)[i];
        Seq *q = seq_of(s, index);
        if (q->tokens < q->goal) continue;
        q->generated++;
        s->owed--;
        if (q->generated == 1) AT(i64, s->first)[index] = s->now;
        else {
            i64 gap = s->now - q->last_token, *longest = AT(i64, s->max_gap) + index;
            if (gap > *longest) *longest = gap;
            AT(i64, s->gaps)[gap_bin(gap)]++;
        }
        q->last_token = s->now;
        if (q->generated == AT(i64, s->osl)[index]) finish(s, index); else join(s, index);
    }
    for (i64 i = 0; i < s->swapped_in; i++) {
        i32 index = AT(i32, s->batch)[s->max_running + i];
        if (seq_of(s, index)->state == LOADING) join(s, index);
    }
}

static void pass_time(Sim *s, i64 decode) {
    i64 kv = decode ? s->kv_tokens + decode : 0;
    i64 length = step_ticks(s, decode, kv, s->batch_size, s->batch_tokens, s->batch_context);
    length += s->swap_blocks * s->swap_ticks;
    s->held += decode;
    s->steps++;
    s->decode_steps += decode > 0;
    s->prefill_steps += s->batch_size > 0;
    s->decode_tokens += decode;
    s->decode_kv_tokens += kv;
    s->prefill_tokens += s->batch_tokens;
    s->prefill_context_tokens += s->batch_context;
    s->prefill_seqs += s->batch_size;
    s->swapped_blocks += s->swap_blocks;
    note_peaks(s);
    s->busy_ticks += length;
    s->running_area += (f64)s->running * (f64)length;
    s->held_area += (f64)(s->held - s->duplicates * s->unit_tokens) * (f64)length;
    s->now += length;
}

static void one_step(Sim *s) {
    arrive(s);
    if (!s->running) s->gate = 1;
    s->swap_blocks = s->swapped_in = s->batch_size = s->batch_tokens = s->batch_context = 0;
    int preempted = s->mixed ? make_room(s) : 0;
    s->budget = s->max_tokens - (s->mixed ? s->decoding : 0);
    if (s->partial != NONE && s->budget > 0) prefill(s, (i32)s->partial);
    if (!preempted) admit(s);
    if (!s->mixed && !s->batch_size) preempted = make_room(s);
    i64 decode = s->mixed || !s->batch_size ? s->decoding : 0;
    if (!decode && !s->batch_size && !s->swapped_in && !s->swap_blocks) {
        s->now = next_event(s);
        return;
    }
    /* a head that lacks blocks waits for a request to end, and so does all behind it */
    i64 stop = may_admit(s) && (s->stuck == NONE || s->classes > 1) ? next_event(s) : NEVER;
    pass_time(s, decode);
    if (decode) emit_decode(s);
    if (decode && !preempted && !s->batch_size && !s->swapped_in) leap(s, stop);
    if (decode) finish_decoded(s);
    emit_prefill(s);
}

/* Prepare the queues of blocks and requests. */
__attribute__((export_name("start"))) void start(Sim *s) {
    for (i64 k = 0; k < s->classes; k++) AT(i32, s->wait_head)[k] = AT(i32, s->wait_tail)[k] = NONE;
    for (i64 r = 0; r < s->ranks; r++) AT(i32, s->run_head)[r] = AT(i32, s->run_tail)[r] = NONE;
    for (i64 t = 0; t < s->tenants; t++) AT(i64, s->bucket)[t] = AT(i64, s->bucket_burst)[t] * TICKS_PER_S;
    for (i64 u = 0; u < s->units; u++) AT(i32, s->users)[u] = UNCACHED;
    s->node_unused = s->units + 3;
    for (i64 i = 0; i < s->node_unused; i++) AT(i32, s->node_free)[i] = (i32)i;
    for (i64 i = 0; i < s->n; i++) AT(i64, s->admitted)[i] = -1;
    s->queue_head = s->queue_tail = s->partial = s->stuck = NONE;
    append_run(s, s->num_blocks);
    s->free_blocks = s->num_blocks;
    s->sent = s->concurrency && s->concurrency < s->n ? s->concurrency : s->n;
    s->gate = 1;
}

/* At most `iterations` steps or leaps. 0: all requests are done, 1: go on, 2: the clock has run out. */
__attribute__((export_name("advance"))) i32 advance(Sim *s, i64 iterations) {
    while (s->done < s->n) {
        if (iterations-- <= 0) return 1;
        one_step(s);
        if (s->now < 0 || s->now > NEVER / 2) return 2;
    }
    s->end_ticks = s->now;
    return 0;
}
