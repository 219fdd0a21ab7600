/* Decoding requests by the decode step that gives their last token, then by order of admission. */
#pragma once
#include "sim.h"

static int before(const Sim *s, i32 a, i32 b) {
    const Seq *x = AT(Seq, s->seqs) + a, *y = AT(Seq, s->seqs) + b;
    return x->finish_step != y->finish_step ? x->finish_step < y->finish_step : x->seqno < y->seqno;
}

static void heap_put(Sim *s, i64 at, i32 index) {
    AT(i32, s->heap)[at] = index;
    AT(Seq, s->seqs)[index].heap_at = (i32)at;
}

static void heap_up(Sim *s, i64 at) {
    i32 *heap = AT(i32, s->heap), index = heap[at];
    while (at && before(s, index, heap[(at - 1) / 2])) {
        heap_put(s, at, heap[(at - 1) / 2]);
        at = (at - 1) / 2;
    }
    heap_put(s, at, index);
}

static void heap_down(Sim *s, i64 at) {
    i32 *heap = AT(i32, s->heap), index = heap[at];
    for (;;) {
        i64 child = 2 * at + 1;
        if (child >= s->heap_size) break;
        if (child + 1 < s->heap_size && before(s, heap[child + 1], heap[child])) child++;
        if (!before(s, heap[child], index)) break;
        heap_put(s, at, heap[child]);
        at = child;
    }
    heap_put(s, at, index);
}

static void heap_add(Sim *s, i32 index) {
    heap_put(s, s->heap_size++, index);
    heap_up(s, s->heap_size - 1);
}

static void heap_remove(Sim *s, i32 index) {
    i64 at = AT(Seq, s->seqs)[index].heap_at;
    i32 last = AT(i32, s->heap)[--s->heap_size];
    if (last == index) return;
    heap_put(s, at, last);
    heap_up(s, at);
    heap_down(s, AT(Seq, s->seqs)[last].heap_at);
}
