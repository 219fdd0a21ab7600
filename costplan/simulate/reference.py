"""The obvious engine: one step at a time, plain lists, each rule beside its reason. It is what `fast` must equal."""

from __future__ import annotations

from dataclasses import dataclass, field

from costplan.simulate.clock import gap_bin
from costplan.simulate.policy import Preemption
from costplan.simulate.prefix_cache import BlockPool
from costplan.simulate.quota import TokenBuckets
from costplan.simulate.setup import Setup
from costplan.simulate.tally import Tally, empty_tally


@dataclass(slots=True, eq=False)
class Seq:
    """A request inside the engine. ``cached`` tokens lie in the cache, ``goal`` is where its prefill ends."""

    index: int
    isl: int
    osl: int
    units: list[int]
    rank: int
    generated: int = 0
    cached: int = 0
    goal: int = 0
    blocks: int = 0
    held_units: list[int] = field(default_factory=list)
    last_token: int = 0
    paid: bool = False
    swapped: bool = False


class ReferenceEngine:
    """Runs a `Setup` to its end."""

    def __init__(self, setup: Setup) -> None:
        self.s = setup
        self.tally: Tally = empty_tally(setup.arrival)
        self.now = 0
        self.pool = BlockPool(setup.limits.num_blocks, setup.units.blocks)
        self.waiting: list[list[Seq]] = [[] for _ in setup.class_rank]
        self.running: list[Seq] = []  # in order of admission
        self.decoding: list[Seq] = []  # those of them whose prompt is done
        self.partial: Seq | None = None  # a prompt that is split over steps; there is never a second one
        self.gate_open = True
        self.buckets = TokenBuckets(setup.bucket_rate.tolist(), setup.bucket_burst.tolist())
        self.next_arrival = 0
        self.sent = min(setup.concurrency, setup.n) if setup.concurrency else setup.n
        self.arrival = setup.arrival.tolist()
        self.done = 0

    def run(self) -> Tally:
        """Step until the last request has its last token."""
        while self.done < self.s.n:
            self._step()
        self.tally.arrival[:] = self.arrival
        self.tally.counters["end_ticks"] = self.now
        return self.tally

    # -- one step ---------------------------------------------------------------------------------------------

    def _step(self) -> None:
        self._arrive()
        mixed = self.s.policy.mixed_steps
        if not self.running:
            self.gate_open = True
        self.swap_blocks = 0
        self.prefills: list[tuple[Seq, int, int]] = []  # sequence, new tokens, tokens cached before
        self.swapped_in: list[Seq] = []
        preempted = self._make_room() if mixed else False
        self.budget = self.s.limits.max_num_batched_tokens - (len(self.decoding) if mixed else 0)
        if self.partial is not None and self.budget > 0:
            self._prefill(self.partial)
        if not preempted:  # vLLM admits nobody in a step in which somebody had to give way
            self._admit()
        decode = list(self.decoding)
        if not mixed and self.prefills:
            decode = []  # prompts first: decoding sequences wait
        elif not mixed:
            self._make_room()
            decode = list(self.decoding)
        if not decode and not self.prefills and not self.swapped_in and not self.swap_blocks:
            self._idle()
            return
        self._pass_time(decode)
        self._emit(decode)

    def _arrive(self) -> None:
        while self.next_arrival < self.sent and self.arrival[self.next_arrival] <= self.now:
            i = self.next_arrival
            self.next_arrival += 1
            units = self.s.units
            ids = units.ids[units.offsets[i]:units.offsets[i + 1]].tolist()
            k = int(self.s.request_class[i])
            self.waiting[k].append(Seq(i, int(self.s.isl[i]), int(self.s.osl[i]), ids, int(self.s.class_rank[k])))

    def _idle(self) -> None:
        """Nothing can run: go to the next arrival or the next moment at which a quota suffices."""
        times = [self._affordable_at(k) for k, queue in enumerate(self.waiting) if queue]
        if self.next_arrival < self.sent:
            times.append(self.arrival[self.next_arrival])
        assert min(times) > self.now
        self.now = min(times)

    # -- admission --------------------------------------------------------------------------------------------

    def _admit(self) -> None:
        """Admit waiting requests in order until one of them does not fit: nobody overtakes within the order."""
        complete = len(self.running) == self.s.max_running
        while self.gate_open and self.budget > 0 and len(self.running) < self.s.max_running and self.partial is None:
            k = self._next_class()
            if k is None or not self._try_admit(self.waiting[k][0], k):
                complete = True
                break
            complete = len(self.running) == self.s.max_running
        if self.s.policy.static_batch and self.running and complete:
            self.gate_open = False  # the batch decodes to its end

    def _next_class(self) -> int | None:
        """Class whose head goes next: best priority, then first come, among those whose quota suffices."""
        able = [(seqs[0].rank, seqs[0].index, k) for k, seqs in enumerate(self.waiting)
                if seqs and self._affordable_at(k) <= self.now]
        return min(able)[2] if able else None

    def _try_admit(self, seq: Seq, k: int) -> bool:
        s, size = self.s, self.s.limits.block_size
        if seq.swapped:
            need, hit = _blocks(seq.cached, size), 0
        else:
            goal = seq.isl + seq.generated  # a preempted sequence computes its own answer again
            hit = self.pool.hits(seq.units, (goal - 1) // s.units.tokens)  # one token is always computed, for logits
            if not s.policy.chunked_prefill and goal - hit * s.units.tokens > self.budget:
                return False
            end = seq.isl + seq.osl - 1 if s.policy.reserve_output else goal
            need = _blocks(end, size) - hit * s.units.blocks
        spare = self.pool.free_after(seq.units[:hit]) - need
        if spare < (s.limits.watermark_blocks if self.running else 0):
            return False
        if self.running and s.policy.reserve_permille:
            owed = sum(r.osl - r.generated for r in self.running) + seq.osl - seq.generated
            if spare * size * 1000 < s.policy.reserve_permille * owed:
                return False
        self.waiting[k].pop(0)
        if not seq.paid:
            self.buckets.pay(int(self.s.class_tenant[k]), seq.isl + seq.osl, self.now)
            seq.paid = True
        for unit in seq.units[:hit]:
            self.pool.share(unit)
        self.pool.take(need)
        seq.held_units = seq.units[:hit]
        seq.blocks = need + hit * s.units.blocks
        self.running.append(seq)
        if seq.swapped:
            seq.swapped = False
            self.swap_blocks += need
            self.swapped_in.append(seq)
            return True
        if self.tally.admitted[seq.index] < 0:
            self.tally.counters["prompt_tokens"] += seq.isl
            self.tally.counters["hit_tokens"] += hit * s.units.tokens
            self.tally.admitted[seq.index] = self.now
        seq.goal, seq.cached = goal, hit * s.units.tokens
        self._prefill(seq)
        return True

    def _prefill(self, seq: Seq) -> None:
        """Give ``seq`` the next chunk that fits into the step; whole units become shareable at once."""
        chunk = min(seq.goal - seq.cached, self.budget)
        self.budget -= chunk
        self.prefills.append((seq, chunk, seq.cached))
        seq.cached += chunk
        self.partial = seq if seq.cached < seq.goal else None
        while len(seq.held_units) < min(len(seq.units), seq.cached // self.s.units.tokens):
            unit = seq.units[len(seq.held_units)]
            if not self.pool.publish(unit):
                break
            seq.held_units.append(unit)

    def _affordable_at(self, k: int) -> int:
        """First tick at which the tenant of class ``k`` can pay for its head; after a preemption nobody pays twice."""
        seq = self.waiting[k][0]
        return 0 if seq.paid else self.buckets.affordable_at(int(self.s.class_tenant[k]), seq.isl + seq.osl)

    # -- blocks -----------------------------------------------------------------------------------------------

    def _make_room(self) -> bool:
        """Take a block for each decoding sequence at a block boundary; the last admitted give way if none is left."""
        preempted = False
        if self.s.policy.reserve_output:
            return False
        size = self.s.limits.block_size
        while (need := sum(q.cached % size == 0 for q in self.decoding)) > self.pool.free:
            worst = max(q.rank for q in self.running)
            self._preempt([q for q in self.running if q.rank == worst][-1])
            preempted = True
        self.pool.take(need)
        for q in self.decoding:
            q.blocks += q.cached % size == 0
        return preempted

    def _preempt(self, seq: Seq) -> None:
        self.tally.counters["preemptions"] += 1
        self.tally.preempted[seq.index] += 1
        if self.s.policy.preemption is Preemption.SWAP and (seq in self.decoding or seq in self.swapped_in):
            seq.swapped = True
            self.swap_blocks += seq.blocks
        if seq in self.swapped_in:  # out again before it could decode
            self.swapped_in.remove(seq)
        self._free(seq)
        # ahead of all that came after it: it keeps its place in the order of arrival
        self.waiting[int(self.s.request_class[seq.index])].insert(0, seq)

    def _free(self, seq: Seq) -> None:
        self.pool.release(seq.blocks - len(seq.held_units) * self.s.units.blocks, seq.held_units)
        seq.blocks, seq.held_units = 0, []
        self.running.remove(seq)
        if seq in self.decoding:
            self.decoding.remove(seq)
        if self.partial is seq:
            self.partial = None

    # -- time and tokens --------------------------------------------------------------------------------------

    def _pass_time(self, decode: list[Seq]) -> None:
        kv = sum(q.cached + 1 for q in decode)  # the new token attends to itself too
        tokens, context = sum(c for _, c, _ in self.prefills), sum(b for _, _, b in self.prefills)
        length = self.s.table.step_ticks(len(decode), kv, len(self.prefills), tokens, context)
        length += self.swap_blocks * self.s.swap_ticks
        for q in decode:
            q.cached += 1
        c = self.tally.counters
        c["steps"] += 1
        c["decode_steps"] += bool(decode)
        c["prefill_steps"] += bool(self.prefills)
        c["decode_tokens"] += len(decode)
        c["decode_kv_tokens"] += kv
        c["prefill_tokens"] += tokens
        c["prefill_context_tokens"] += context
        c["prefill_seqs"] += len(self.prefills)
        c["swapped_blocks"] += self.swap_blocks
        c["peak_blocks"] = max(c["peak_blocks"], self.pool.num_blocks - self.pool.free)
        c["peak_running"] = max(c["peak_running"], len(self.running))
        c["busy_ticks"] += length
        held = sum(q.cached for q in self.running) - self.pool.duplicates() * self.s.units.tokens
        self.tally.running_area += float(len(self.running)) * length
        self.tally.held_area += float(held) * length
        self.now += length

    def _emit(self, decode: list[Seq]) -> None:
        """Everybody who decoded or finished a prompt has one token more."""
        for seq in decode:
            self._token(seq)
        for seq, _, _ in self.prefills:
            if seq.cached == seq.goal:
                self.decoding.append(seq)
                self._token(seq)
        self.decoding += self.swapped_in
        self.decoding.sort(key=self.running.index)

    def _token(self, seq: Seq) -> None:
        seq.generated += 1
        if seq.generated == 1:
            self.tally.first[seq.index] = self.now
        else:
            gap = self.now - seq.last_token
            self.tally.max_gap[seq.index] = max(int(self.tally.max_gap[seq.index]), gap)
            self.tally.gaps[gap_bin(gap)] += 1
        seq.last_token = self.now
        if seq.generated == seq.osl:
            self.tally.finish[seq.index] = self.now
            self._free(seq)
            self.done += 1
            if self.sent < self.s.n:  # closed loop: the client thinks, then asks again
                self.arrival[self.sent] = self.now + self.s.think
                self.sent += 1


def _blocks(tokens: int, block_size: int) -> int:
    return -(-tokens // block_size)


def run_reference(setup: Setup) -> Tally:
    """Simulate ``setup`` step by step."""
    return ReferenceEngine(setup).run()
