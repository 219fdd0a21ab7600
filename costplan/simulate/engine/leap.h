/* Many equal decode steps at once. */
#pragma once
#include "sim.h"
#include "table.h"
#include "admit.h"

static void note_peaks(Sim *s) {
    i64 used = s->num_blocks - s->free_blocks;
    if (used > s->peak_blocks) s->peak_blocks = used;
    if (s->running > s->peak_running) s->peak_running = s->running;
}

/* Blocks that the decoding batch takes in the next `steps` decode steps. */
static i64 blocks_over(const Sim *s, i64 steps) {
    i64 sum = steps / s->block_size * s->decoding;
    for (i64 i = steps % s->block_size; i-- > 0;) sum += crossing(s, i);
    return sum;
}

/* Next decode steps for which blocks suffice, at most `most`. */
static i64 steps_with_blocks(const Sim *s, i64 most) {
    if (s->reserve_output) return most;
    i64 rounds = most / s->block_size;
    if (rounds > s->free_blocks / s->decoding) rounds = s->free_blocks / s->decoding;
    i64 steps = rounds * s->block_size, sum = rounds * s->decoding;
    while (steps < most && (sum += crossing(s, steps)) <= s->free_blocks) steps++;
    return steps;
}

/* While blocks last, answers grow into what was kept free for them: the head may fit before a block is taken. */
static i64 steps_until_room(const Sim *s, i64 most) {
    if (s->stuck == NONE || !s->reserve_permille) return most;
    i32 index = AT(i32, s->wait_head)[s->stuck];
    i64 hit, spare, steps = 0;
    blocks_needed(s, index, &hit, &spare);
    i64 owed = s->owed + AT(i64, s->osl)[index] - seq_of(s, index)->generated;
    for (; steps < most && steps <= s->block_size; steps++) {
        if (spare >= s->watermark && spare * s->block_size * 1000 >= s->reserve_permille * owed) return steps;
        spare -= crossing(s, steps);
        owed -= s->decoding;
    }
    return most;
}

/* Steps of one linear piece of the table until the clock reaches `stop`: duration + i * slope each. */
static i64 steps_until(i64 now, i64 duration, i64 slope, i64 most, i64 stop) {
    if (now + most * duration + slope * (most * (most - 1) / 2) < stop) return most;
    i64 low = 1, high = most;
    while (low < high) {
        i64 mid = (low + high) / 2;
        if (now + mid * duration + slope * (mid * (mid - 1) / 2) >= stop) high = mid; else low = mid + 1;
    }
    return low;
}

/* `steps` equal decode steps at once, while mean cached length stays within one piece of the table. */
static void leap_piece(Sim *s, i64 steps, i64 duration, i64 slope) {
    i64 n = s->decoding, kv = s->kv_tokens + n, pairs = steps * (steps - 1) / 2;
    i64 length = steps * duration + slope * pairs, last = duration + slope * (steps - 1);
    f64 held = (f64)(s->held + n - s->duplicates * s->unit_tokens);
    f64 squares = (f64)pairs * (f64)(2 * steps - 1) / 3.0;
    s->running_area += (f64)s->running * (f64)length;
    s->held_area += held * (f64)length + (f64)n * ((f64)duration * (f64)pairs + (f64)slope * squares);
    s->steps += steps;
    s->decode_steps += steps;
    s->decode_tokens += n * steps;
    s->decode_kv_tokens += kv * steps + n * pairs;
    s->busy_ticks += length;
    s->now += length;
    s->step += steps;
    s->kv_tokens += n * steps;
    s->owed -= n * steps;
    s->held += n * steps;
    s->last_decode_end = s->now;
    count_gaps(s, n, duration, slope, steps);
    push_gap(s, s->step, last > duration ? last : duration);
}

static int may_admit(const Sim *s) { return s->gate && s->running < s->max_running && s->budget > 0; }

/* Nothing but the decoding batch moves: go on until a request ends, blocks run out or somebody may be admitted. */
static void leap(Sim *s, i64 stop) {
    i64 most = seq_of(s, AT(i32, s->heap)[0])->finish_step - s->step;
    if (may_admit(s)) most = steps_until_room(s, most);
    most = steps_with_blocks(s, most);
    i64 left = most, first = s->step, fixed = AT(i64, s->t_tokens)[s->decoding] + AT(i64, s->t_seqs)[s->decoding]
                             + AT(i64, s->t_host)[s->decoding];
    while (left && s->now < stop) {
        i64 mean_kv = (s->kv_tokens + s->decoding) / s->decoding, knot = knot_of(s, mean_kv);
        i64 here = knot + 1 < s->num_knots ? AT(i64, s->kv_knots)[knot + 1] - mean_kv : left;
        if (here > left) here = left;
        i64 duration = fixed + decode_ticks(s, s->decoding, mean_kv, knot);
        i64 slope = AT(i64, s->t_slope)[s->decoding * s->num_knots + knot];
        here = steps_until(s->now, duration, slope, here, stop);
        leap_piece(s, here, duration, slope);
        left -= here;
    }
    if (s->reserve_output || left == most) return;
    i64 last = s->step;
    s->step = first;
    take_blocks(s, blocks_over(s, most - left));
    s->step = last;
    note_peaks(s);
}
