"""Work that is counted as it is done, for whoever shows how much is left."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Generic, TypeVar, overload

Item = TypeVar("Item")
Told = Callable[[int, int], None]
"""Called with how many parts are done, and of how many."""


class Parts:
    """So many parts of some work.

    Args:
        told: is called after each.
        total: how many there are; more than these are not counted.
    """

    def __init__(self, told: Told, total: int) -> None:
        self._told, self._total, self._done = told, total, 0

    def step(self) -> None:
        """One more is done."""
        self._done = min(self._done + 1, self._total)
        self._told(self._done, self._total)


class Counted(Sequence[Item], Generic[Item]):
    """Items each of which is a part of the work, every time that they are gone through."""

    def __init__(self, items: Sequence[Item], parts: Parts) -> None:
        self._items, self._parts = items, parts

    def __iter__(self) -> Iterator[Item]:
        for item in self._items:
            yield item
            self._parts.step()

    def __len__(self) -> int:
        return len(self._items)

    @overload
    def __getitem__(self, where: int) -> Item: ...

    @overload
    def __getitem__(self, where: slice) -> Sequence[Item]: ...

    def __getitem__(self, where: int | slice) -> Item | Sequence[Item]:
        return self._items[where]
