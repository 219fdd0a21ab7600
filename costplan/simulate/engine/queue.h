/* Who waits, who runs, and what a tenant may still spend. */
#pragma once
#include "sim.h"
#include "pool.h"
#include "gaps.h"
#include "heap.h"

#define TICKS_PER_S 100000000000LL

static i64 blocks_of(const Sim *s, i64 tokens) { return (tokens + s->block_size - 1) / s->block_size; }

static Seq *seq_of(const Sim *s, i64 index) { return AT(Seq, s->seqs) + index; }

static void wait_last(Sim *s, i32 index) {
    i64 k = AT(i64, s->cls)[index];
    i32 *head = AT(i32, s->wait_head) + k, *tail = AT(i32, s->wait_tail) + k;
    seq_of(s, index)->next = NONE;
    if (*head == NONE) *head = index; else seq_of(s, *tail)->next = index;
    *tail = index;
}

static void wait_first(Sim *s, i32 index) {
    i64 k = AT(i64, s->cls)[index];
    i32 *head = AT(i32, s->wait_head) + k, *tail = AT(i32, s->wait_tail) + k;
    seq_of(s, index)->next = *head;
    if (*head == NONE) *tail = index;
    *head = index;
}

static void arrive(Sim *s) {
    const i64 *arrival = AT(i64, s->arrival);
    while (s->next_arrival < s->sent && arrival[s->next_arrival] <= s->now) {
        i32 index = (i32)s->next_arrival++;
        Seq *q = seq_of(s, index);
        q->state = WAITING;
        q->rank = (i32)AT(i64, s->class_rank)[AT(i64, s->cls)[index]];
        wait_last(s, index);
    }
}

/* First tick at which the tenant of class k can pay for its head. */
static i64 affordable_at(const Sim *s, i64 k) {
    i32 index = AT(i32, s->wait_head)[k];
    i64 t = AT(i64, s->class_tenant)[k], rate = AT(i64, s->bucket_rate)[t];
    if (!rate || seq_of(s, index)->paid) return 0;
    i64 cost = (AT(i64, s->isl)[index] + AT(i64, s->osl)[index]) * TICKS_PER_S;
    i64 missing = cost - AT(i64, s->bucket)[t];
    return AT(i64, s->bucket_time)[t] + (missing > 0 ? (missing + rate - 1) / rate : 0);
}

static void pay(Sim *s, i32 index, i64 k) {
    i64 t = AT(i64, s->class_tenant)[k], rate = AT(i64, s->bucket_rate)[t];
    Seq *q = seq_of(s, index);
    if (rate && !q->paid) {
        i64 full = AT(i64, s->bucket_burst)[t] * TICKS_PER_S, level = AT(i64, s->bucket)[t];
        i64 passed = s->now - AT(i64, s->bucket_time)[t];
        if (passed > (full - level) / rate) level = full; else level += rate * passed;
        AT(i64, s->bucket)[t] = level - (AT(i64, s->isl)[index] + AT(i64, s->osl)[index]) * TICKS_PER_S;
        AT(i64, s->bucket_time)[t] = s->now;
    }
    q->paid = 1;
}

/* Class whose head goes next: best priority, then first come, among those that can pay; NONE if there is none. */
static i64 next_class(const Sim *s) {
    const i32 *heads = AT(i32, s->wait_head);
    i64 best = NONE;
    for (i64 k = 0; k < s->classes; k++) {
        if (heads[k] == NONE || affordable_at(s, k) > s->now) continue;
        if (best == NONE) { best = k; continue; }
        i64 a = AT(i64, s->class_rank)[k], b = AT(i64, s->class_rank)[best];
        if (a < b || (a == b && heads[k] < heads[best])) best = k;
    }
    return best;
}

/* First tick at which the queue can change by itself: an arrival, or a quota that suffices. */
static i64 next_event(const Sim *s) {
    i64 time = s->next_arrival < s->sent ? AT(i64, s->arrival)[s->next_arrival] : NEVER;
    for (i64 k = 0; k < s->classes; k++) {
        if (AT(i32, s->wait_head)[k] == NONE) continue;
        i64 at = affordable_at(s, k);
        if (at > s->now && at < time) time = at;
    }
    return time;
}

static void run_last(Sim *s, i32 index) {
    Seq *q = seq_of(s, index);
    i32 *head = AT(i32, s->run_head) + q->rank, *tail = AT(i32, s->run_tail) + q->rank;
    q->seqno = s->admissions++;
    q->prev = *tail;
    q->next = NONE;
    if (*tail == NONE) *head = index; else seq_of(s, *tail)->next = index;
    *tail = index;
    s->running++;
    s->owed += AT(i64, s->osl)[index] - q->generated;
}

/* A prompt is done (or swapped in): from the next step on `index` decodes. */
static void join(Sim *s, i32 index) {
    Seq *q = seq_of(s, index);
    q->state = DECODING;
    q->join_step = s->step;
    q->finish_step = s->step + AT(i64, s->osl)[index] - q->generated;
    q->window = NEVER;
    s->decoding++;
    s->kv_tokens += q->tokens;
    AT(i64, s->phase)[(q->tokens - s->step % s->block_size + s->block_size) % s->block_size]++;
    heap_add(s, index);
    AT(i32, s->fresh)[s->fresh_size++] = index;
}

/* Take a decoding request out of the batch, with its tokens and gaps as of now. */
static void leave(Sim *s, i32 index) {
    Seq *q = seq_of(s, index);
    i64 grown = s->step - q->join_step, *longest = AT(i64, s->max_gap) + index;
    q->tokens += grown;
    q->generated += grown;
    s->decoding--;
    s->kv_tokens -= q->tokens;
    AT(i64, s->phase)[(q->tokens - s->step % s->block_size + s->block_size) % s->block_size]--;
    heap_remove(s, index);
    if (!s->reserve_output) q->blocks = blocks_of(s, q->tokens);
    if (q->window != NEVER) {
        i64 gap = longest_gap(s, q->window);
        if (gap > *longest) *longest = gap;
        q->last_token = s->last_decode_end;
    }
}

/* Leave the engine: blocks, place in the order of admission, tokens. */
static void free_seq(Sim *s, i32 index) {
    Seq *q = seq_of(s, index);
    if (q->state == DECODING) leave(s, index);
    if (s->partial == index) s->partial = NONE;
    release_blocks(s, index, q);
    if (q->prev == NONE) AT(i32, s->run_head)[q->rank] = q->next; else seq_of(s, q->prev)->next = q->next;
    if (q->next == NONE) AT(i32, s->run_tail)[q->rank] = q->prev; else seq_of(s, q->next)->prev = q->prev;
    s->running--;
    s->held -= q->tokens;
    s->owed -= AT(i64, s->osl)[index] - q->generated;
    q->state = IDLE;
}
