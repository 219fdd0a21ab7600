/* KV blocks: `prefix_cache.BlockPool` with a linked queue. Nodes below `units` are prefix units, the others runs of
   blocks whose content nobody can find again; neighbouring runs are merged, so that `units + 3` of them suffice. */
#pragma once
#include "sim.h"

#define NONE (-1)
#define UNCACHED (-1)

static i64 node_blocks(const Sim *s, i32 node) {
    return node < s->units ? s->unit_blocks : AT(i64, s->node_count)[node - s->units];
}

static i32 new_run(Sim *s, i64 blocks) {
    i32 node = (i32)(s->units + AT(i32, s->node_free)[--s->node_unused]);
    AT(i64, s->node_count)[node - s->units] = blocks;
    return node;
}

static void drop_run(Sim *s, i32 node) {
    AT(i32, s->node_free)[s->node_unused++] = (i32)(node - s->units);
}

static void link_between(Sim *s, i32 prev, i32 node, i32 next) {
    AT(i32, s->node_prev)[node] = prev;
    AT(i32, s->node_next)[node] = next;
    if (prev == NONE) s->queue_head = node; else AT(i32, s->node_next)[prev] = node;
    if (next == NONE) s->queue_tail = node; else AT(i32, s->node_prev)[next] = node;
}

static void unlink_node(Sim *s, i32 node) {
    i32 prev = AT(i32, s->node_prev)[node], next = AT(i32, s->node_next)[node];
    if (prev == NONE) s->queue_head = next; else AT(i32, s->node_next)[prev] = next;
    if (next == NONE) s->queue_tail = prev; else AT(i32, s->node_prev)[next] = prev;
    if (prev != NONE && next != NONE && prev >= s->units && next >= s->units) {
        AT(i64, s->node_count)[prev - s->units] += AT(i64, s->node_count)[next - s->units];
        i32 after = AT(i32, s->node_next)[next];
        AT(i32, s->node_next)[prev] = after;
        if (after == NONE) s->queue_tail = prev; else AT(i32, s->node_prev)[after] = prev;
        drop_run(s, next);
    }
}

static void append_run(Sim *s, i64 blocks) {
    i32 tail = (i32)s->queue_tail;
    if (tail != NONE && tail >= s->units) AT(i64, s->node_count)[tail - s->units] += blocks;
    else link_between(s, tail, new_run(s, blocks), NONE);
}

static void take_blocks(Sim *s, i64 blocks) {
    s->free_blocks -= blocks;
    while (blocks) {
        i32 node = (i32)s->queue_head;
        i64 here = node_blocks(s, node);
        if (node >= s->units && here > blocks) {
            AT(i64, s->node_count)[node - s->units] = here - blocks;
            return;
        }
        unlink_node(s, node);
        if (node >= s->units) drop_run(s, node); else AT(i32, s->users)[node] = UNCACHED;
        i64 used = here < blocks ? here : blocks;
        blocks -= used;
        if (here > used) {
            i32 head = (i32)s->queue_head;
            if (head != NONE && head >= s->units) AT(i64, s->node_count)[head - s->units] += here - used;
            else link_between(s, NONE, new_run(s, here - used), head);
        }
    }
}

static i64 count_hits(const Sim *s, i64 index, i64 at_most, i64 *unowned) {
    const i64 *offsets = AT(i64, s->unit_offsets), *ids = AT(i64, s->unit_ids);
    i64 first = offsets[index], end = offsets[index + 1], found = 0;
    if (end - first > at_most) end = first + at_most;
    *unowned = 0;
    while (first + found < end) {
        i32 users = AT(i32, s->users)[ids[first + found]];
        if (users == UNCACHED) break;
        *unowned += users == 0;
        found++;
    }
    return found;
}

static void share_unit(Sim *s, i32 unit) {
    i32 *users = AT(i32, s->users) + unit;
    if (*users == 0) {
        unlink_node(s, unit);
        s->free_blocks -= s->unit_blocks;
    } else s->duplicates++;
    ++*users;
}

/* Whole units below seq->tokens become shareable, until one that others have computed themselves. */
static void publish_units(Sim *s, i64 index, Seq *q) {
    const i64 *offsets = AT(i64, s->unit_offsets), *ids = AT(i64, s->unit_ids);
    i64 count = offsets[index + 1] - offsets[index];
    while (q->held < count && (q->held + 1) * s->unit_tokens <= q->tokens) {
        i32 *users = AT(i32, s->users) + ids[offsets[index] + q->held];
        if (*users != UNCACHED) return;
        *users = 1;
        q->held++;
    }
}

static void release_blocks(Sim *s, i64 index, Seq *q) {
    const i64 *ids = AT(i64, s->unit_ids) + AT(i64, s->unit_offsets)[index];
    i64 own = q->blocks - q->held * s->unit_blocks;
    if (own) append_run(s, own);
    s->free_blocks += own;
    while (q->held) {
        i32 unit = (i32)ids[--q->held];
        i32 *users = AT(i32, s->users) + unit;
        if (--*users) s->duplicates--;
        else {
            link_between(s, (i32)s->queue_tail, unit, NONE);
            s->free_blocks += s->unit_blocks;
        }
    }
    q->blocks = 0;
}
