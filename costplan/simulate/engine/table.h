/* Step times: the same arithmetic as `step_table.StepTable`, operation by operation. */
#pragma once
#include "sim.h"

static i64 knot_of(const Sim *s, i64 mean_kv) {
    const i64 *knots = AT(i64, s->kv_knots);
    i64 low = 0, high = s->num_knots; /* first knot above mean_kv */
    while (low < high) {
        i64 mid = (low + high) / 2;
        if (mean_kv < knots[mid]) high = mid; else low = mid + 1;
    }
    return low ? low - 1 : 0;
}

static i64 decode_ticks(const Sim *s, i64 seqs, i64 mean_kv, i64 knot) {
    i64 at = seqs * s->num_knots + knot;
    return AT(i64, s->t_decode)[at] + AT(i64, s->t_slope)[at] * (mean_kv - AT(i64, s->kv_knots)[knot]);
}

static i64 cell(const f64 *axis, i64 n, f64 x, f64 *weight) {
    i64 low = 0, high = n;
    while (low < high) {
        i64 mid = (low + high) / 2;
        if (x < axis[mid]) high = mid; else low = mid + 1;
    }
    i64 i = low - 1;
    if (i < 0) i = 0;
    if (i > n - 2) i = n - 2;
    *weight = (x - axis[i]) / (axis[i + 1] - axis[i]);
    return i;
}

static i64 prefill_ticks(const Sim *s, i64 seqs, i64 tokens, i64 context) {
    f64 q = (f64)tokens / (f64)seqs, a, b, c;
    i64 i = cell(AT(f64, s->axis_s), s->num_s, (f64)seqs, &a);
    i64 j = cell(AT(f64, s->axis_q), s->num_q, q, &b);
    i64 k = cell(AT(f64, s->axis_c), s->num_c, (f64)context / (f64)seqs, &c);
    const f64 *t = AT(f64, s->t_prefill) + (i * s->num_q + j) * s->num_c + k;
    i64 row = s->num_c, plane = s->num_q * s->num_c;
    f64 n00 = t[0] + c * (t[1] - t[0]);
    f64 n01 = t[row] + c * (t[row + 1] - t[row]);
    f64 n10 = t[plane] + c * (t[plane + 1] - t[plane]);
    f64 n11 = t[plane + row] + c * (t[plane + row + 1] - t[plane + row]);
    f64 low = n00 + b * (n01 - n00);
    f64 high = n10 + b * (n11 - n10);
    f64 ticks = (low + a * (high - low)) * (q + 64.0) + 0.5;
    return ticks < 1.0 ? 0 : (i64)ticks;
}

static i64 step_ticks(const Sim *s, i64 decode_seqs, i64 decode_kv, i64 seqs, i64 tokens, i64 context) {
    i64 all = decode_seqs + seqs;
    if (!all) return 0;
    i64 busy = AT(i64, s->t_tokens)[decode_seqs + tokens] + AT(i64, s->t_seqs)[all];
    if (decode_seqs) {
        i64 mean_kv = decode_kv / decode_seqs;
        busy += decode_ticks(s, decode_seqs, mean_kv, knot_of(s, mean_kv));
    }
    if (tokens) {
        busy += prefill_ticks(s, seqs, tokens, context);
        if (busy < s->prefill_floor) busy = s->prefill_floor;
    }
    return busy + AT(i64, s->t_host)[all];
}
