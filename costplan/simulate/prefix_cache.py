"""A finite pool of KV blocks with prefix caching, written to be read: lists and sets, one rule per line."""

from __future__ import annotations


class BlockPool:
    """``num_blocks`` blocks. Blocks without an owner wait in ``queue``, oldest first, and are taken from its front.

    An entry of the queue is ``(None, k)``: k blocks whose content nobody can find again, or ``(unit, k)``: the k
    blocks of a cached prefix unit, evicted when the first of them is taken (vLLM v1 ``FreeKVCacheBlockQueue``).
    """

    def __init__(self, num_blocks: int, unit_blocks: int) -> None:
        self.num_blocks = num_blocks
        self.unit_blocks = unit_blocks
        self.queue: list[tuple[int | None, int]] = [(None, num_blocks)]
        self.users: dict[int, int] = {}
        """Sequences that hold each cached unit; 0 for a unit that waits in the queue."""

    @property
    def free(self) -> int:
        """Blocks without an owner, cached ones included."""
        return sum(k for _, k in self.queue)

    def hits(self, units: list[int], at_most: int) -> int:
        """How many leading ``units`` are cached."""
        found = 0
        while found < min(len(units), at_most) and units[found] in self.users:
            found += 1
        return found

    def free_after(self, hit: list[int]) -> int:
        """Free blocks once the cached units ``hit`` have an owner."""
        return self.free - self.unit_blocks * sum(self.users[u] == 0 for u in hit)

    def take(self, blocks: int) -> None:
        """Take ``blocks`` from the front of the queue; a cached unit on the way is forgotten."""
        while blocks:
            unit, k = self.queue.pop(0)
            if unit is not None:
                del self.users[unit]
            used = min(blocks, k)
            blocks -= used
            if k > used:
                self.queue.insert(0, (None, k - used))

    def share(self, unit: int) -> None:
        """One more sequence holds the cached ``unit``."""
        if self.users[unit] == 0:
            self.queue.remove((unit, self.unit_blocks))
        self.users[unit] += 1

    def publish(self, unit: int) -> bool:
        """The holder of private blocks has computed ``unit``: others may share it now, unless they have their own."""
        if unit in self.users:
            return False
        self.users[unit] = 1
        return True

    def release(self, private: int, units: list[int]) -> None:
        """Give back ``private`` blocks, then the ``units`` from the last: the head of a prompt is evicted last."""
        if private:
            self.queue.append((None, private))
        for unit in reversed(units):
            self.users[unit] -= 1
            if self.users[unit] == 0:
                self.queue.append((unit, self.unit_blocks))

    def duplicates(self) -> int:
        """Units that are held more than once, counted without the first holder."""
        return sum(max(0, k - 1) for k in self.users.values())
