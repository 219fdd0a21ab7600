/* Who gets blocks: decoding requests at a block boundary, waiting ones, and who gives way. */
#pragma once
#include "sim.h"
#include "queue.h"

/* Sequences whose next token, `ahead` decode steps from now, begins a block. */
static i64 crossing(const Sim *s, i64 ahead) {
    i64 size = s->block_size;
    return AT(i64, s->phase)[(size - (s->step + ahead) % size) % size];
}

static void preempt(Sim *s) {
    i64 rank = s->ranks - 1;
    while (AT(i32, s->run_tail)[rank] == NONE) rank--;
    i32 index = AT(i32, s->run_tail)[rank];
    Seq *q = seq_of(s, index);
    int has_cache = q->state == DECODING || q->state == LOADING;
    s->preemptions++;
    AT(i64, s->preempted)[index]++;
    free_seq(s, index);
    if (has_cache && s->swap) {
        q->swapped = 1;
        s->swap_blocks += blocks_of(s, q->tokens);
    }
    q->state = WAITING;
    wait_first(s, index);
}

static int make_room(Sim *s) {
    int preempted = 0;
    if (s->reserve_output || !s->decoding) return 0;
    i64 need;
    while ((need = crossing(s, 0)) > s->free_blocks) {
        preempt(s);
        preempted = 1;
    }
    take_blocks(s, need);
    return preempted;
}

/* Give `index` the next chunk that fits into the step; whole units become shareable at once. */
static void prefill(Sim *s, i32 index) {
    Seq *q = seq_of(s, index);
    i64 chunk = q->goal - q->tokens;
    if (chunk > s->budget) chunk = s->budget;
    s->budget -= chunk;
    s->batch_tokens += chunk;
    s->batch_context += q->tokens;
    AT(i32, s->batch)[s->batch_size++] = index;
    q->tokens += chunk;
    s->held += chunk;
    s->partial = q->tokens < q->goal ? index : NONE;
    publish_units(s, index, q);
}

/* Enough blocks, and enough of them left for what the answers will still need. */
static int has_room(const Sim *s, i32 index, i64 spare) {
    if (spare < (s->running ? s->watermark : 0)) return 0;
    if (!s->running || !s->reserve_permille) return 1;
    i64 owed = s->owed + AT(i64, s->osl)[index] - seq_of(s, index)->generated;
    return spare * s->block_size * 1000 >= s->reserve_permille * owed;
}

/* Blocks that `index` needs and those that would be left; *hit leading units are in the cache. */
static i64 blocks_needed(const Sim *s, i32 index, i64 *hit, i64 *spare) {
    Seq *q = seq_of(s, index);
    i64 unowned = 0, need;
    *hit = 0;
    if (q->swapped) need = blocks_of(s, q->tokens);
    else {
        i64 goal = AT(i64, s->isl)[index] + q->generated;
        *hit = s->units ? count_hits(s, index, (goal - 1) / s->unit_tokens, &unowned) : 0;
        i64 end = s->reserve_output ? AT(i64, s->isl)[index] + AT(i64, s->osl)[index] - 1 : goal;
        need = blocks_of(s, end) - *hit * s->unit_blocks;
    }
    *spare = s->free_blocks - unowned * s->unit_blocks - need;
    return need;
}

static int try_admit(Sim *s, i64 k) {
    i32 index = AT(i32, s->wait_head)[k];
    Seq *q = seq_of(s, index);
    i64 hit, spare, need = blocks_needed(s, index, &hit, &spare);
    i64 goal = AT(i64, s->isl)[index] + q->generated;
    if (!q->swapped && !s->chunked && goal - hit * s->unit_tokens > s->budget) return 0;
    if (!has_room(s, index, spare)) return 0;
    AT(i32, s->wait_head)[k] = q->next;
    if (q->next == NONE) AT(i32, s->wait_tail)[k] = NONE;
    pay(s, index, k);
    const i64 *ids = s->units ? AT(i64, s->unit_ids) + AT(i64, s->unit_offsets)[index] : 0;
    for (i64 i = 0; i < hit; i++) share_unit(s, (i32)ids[i]);
    take_blocks(s, need);
    q->held = (i32)hit;
    q->blocks = need + hit * s->unit_blocks;
    run_last(s, index);
    if (q->swapped) {
        q->swapped = 0;
        q->state = LOADING;
        s->swap_blocks += need;
        s->held += q->tokens;
        AT(i32, s->batch)[s->max_running + s->swapped_in++] = index;
        return 1;
    }
    if (AT(i64, s->admitted)[index] < 0) {
        AT(i64, s->admitted)[index] = s->now;
        s->prompt_tokens += goal;
        s->hit_tokens += hit * s->unit_tokens;
    }
    q->state = PREFILLING;
    q->goal = goal;
    q->tokens = hit * s->unit_tokens;
    s->held += q->tokens;
    prefill(s, index);
    return 1;
}

static void admit(Sim *s) {
    s->stuck = NONE;
    int closed = 0;
    while (s->gate && s->budget > 0 && s->running < s->max_running && s->partial == NONE) {
        i64 k = next_class(s);
        if (k == NONE || !try_admit(s, k)) {
            s->stuck = k;
            closed = 1;
            break;
        }
    }
    if (s->static_batch && s->running && (closed || s->running == s->max_running)) s->gate = 0;
}
