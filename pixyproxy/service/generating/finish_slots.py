"""Finish slots: how many generations read, put and commit their pictures at once.

All others hold only the beginning of their answer; the rest waits in the kernel and at the upstream. So however many
end together, they take the memory and CPU of a few.
"""

import asyncio

import anyio

from pixyproxy.core import limits

LONGEST_WAIT = limits.FINISH_SLOT_WAIT
"""Seconds that a generation waits for a slot before it continues without one: common proxies disconnect clients that
read nothing for 60 s."""
LONGEST_USE = limits.FINISH_SLOT_USE
"""Seconds after which a slot goes to the next one: a generation that takes longer waits for an upstream or a storage,
and needs little memory or CPU."""


class FinishSlots:
    """`number` slots, given in the order of the requests."""

    def __init__(self, number: int) -> None:
        self._free = anyio.Semaphore(number)

    def slot(self) -> "FinishSlot":
        """A claim to a slot, which a generation makes once."""
        return FinishSlot(self._free)


class FinishSlot:
    """A slot that one generation takes and gives back."""

    def __init__(self, free: anyio.Semaphore) -> None:
        self._free = free
        self._end_of_use: asyncio.TimerHandle | None = None

    async def take(self) -> None:
        """Return with the slot, or after `LONGEST_WAIT` without it."""
        with anyio.move_on_after(LONGEST_WAIT):
            await self._free.acquire()
            self._end_of_use = asyncio.get_running_loop().call_later(LONGEST_USE, self.give_back)

    def give_back(self) -> None:
        """Release the slot. Nothing happens if it was not taken, or was released already."""
        if self._end_of_use is not None:
            self._end_of_use.cancel()
            self._end_of_use = None
            self._free.release()
