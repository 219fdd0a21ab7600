/* Gaps between tokens: a histogram, and the longest one of each request without touching it in every step. */
#pragma once
#include "sim.h"

#define GAP_BITS 5

static i64 gap_bin(i64 gap) {
    i64 shift = gap < (2 << GAP_BITS) ? 0 : 63 - __builtin_clzll((unsigned long long)gap) - GAP_BITS;
    return (shift << GAP_BITS) + (gap >> shift);
}

static i64 bin_ticks(i64 index) {
    i64 half = 1 << GAP_BITS;
    if (index < 2 * half) return index;
    return (half + (index & (half - 1))) << ((index >> GAP_BITS) - 1);
}

/* `weight` sequences each wait `gap`, gap + slope, ... over `steps` steps. */
static void count_gaps(Sim *s, i64 weight, i64 gap, i64 slope, i64 steps) {
    i64 *bins = AT(i64, s->gaps);
    while (steps > 0) {
        i64 bin = gap_bin(gap), here = steps;
        if (slope > 0) here = (bin_ticks(bin + 1) - gap + slope - 1) / slope;
        else if (slope < 0) here = (gap - bin_ticks(bin)) / -slope + 1;
        if (here > steps) here = steps;
        bins[bin] += weight * here;
        gap += slope * here;
        steps -= here;
    }
}

/* First entry at or after decode step `from`. Entries fall in value, so it is the longest gap since then. */
static i64 gap_entry(const Sim *s, i64 from) {
    i64 low = 0, high = s->gap_size;
    while (low < high) {
        i64 mid = (low + high) / 2;
        if (AT(i64, s->gap_step)[mid] < from) low = mid + 1; else high = mid;
    }
    return low;
}

static i64 longest_gap(const Sim *s, i64 from) {
    i64 at = gap_entry(s, from);
    return at < s->gap_size ? AT(i64, s->gap_ticks)[at] : 0;
}

/* Keep only entries that are the answer for a decoding request: at most one each. */
static void thin_gaps(Sim *s) {
    i64 *step = AT(i64, s->gap_step), *ticks = AT(i64, s->gap_ticks), *keep = AT(i64, s->gap_keep), kept = 0;
    for (i64 i = 0; i < s->gap_size; i++) keep[i] = 0;
    for (i64 h = 0; h < s->heap_size; h++) {
        i64 at = gap_entry(s, AT(Seq, s->seqs)[AT(i32, s->heap)[h]].window);
        if (at < s->gap_size) keep[at] = 1;
    }
    for (i64 i = 0; i < s->gap_size; i++)
        if (keep[i]) {
            step[kept] = step[i];
            ticks[kept++] = ticks[i];
        }
    s->gap_size = kept;
}

static void push_gap(Sim *s, i64 at_step, i64 gap) {
    i64 *ticks = AT(i64, s->gap_ticks);
    while (s->gap_size && ticks[s->gap_size - 1] <= gap) s->gap_size--;
    if (s->gap_size == s->gap_capacity) thin_gaps(s);
    AT(i64, s->gap_step)[s->gap_size] = at_step;
    ticks[s->gap_size++] = gap;
}
