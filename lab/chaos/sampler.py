"""A thread that looks at a world for as long as a chaos run lasts."""

import threading
from abc import ABC, abstractmethod
from typing import Self


class Sampler(ABC):
    """Looks from a thread of its own, from `with` to the end of its block."""

    def __init__(self) -> None:
        self._ending = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ending.set()
        self._thread.join(60)

    @abstractmethod
    def _run(self) -> None:
        """Look until `_ending` is set."""
