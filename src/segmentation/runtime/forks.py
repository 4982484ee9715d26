"""Forked worker processes.

A fork shares what its parent has imported and read, and takes milliseconds where a new process
would spend seconds on imports. This module is light, as every command imports it, even
`segment --help`.
"""

from __future__ import annotations

import contextlib
import gc
import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import Generic, TypeVar

from segmentation.runtime import interrupts

T = TypeVar("T")
Order = TypeVar("Order")
Answer = TypeVar("Answer")


def can_fork() -> bool:
    """Return whether this process can fork safely: on Linux, and not in a worker of a pool."""
    return sys.platform == "linux" and not multiprocessing.current_process().daemon


class Team(Generic[Order, Answer]):
    """Forked processes that answer orders, each through its own pipe.

    A ``with`` statement starts the members and ends them all. If this process dies, they receive
    SIGTERM. Use it only where `can_fork`, and with BLAS and OpenMP limited to one thread:
    OpenMP's threads do not survive a fork.

    Parameters
    ----------
    work : callable
        ``work(member, order)`` runs in a member for each order and returns the answer.
    members : iterable of int
        A number for each member.
    grace : float, default 0.0
        With 0, members have nothing to save: they ignore SIGINT, end silently when `work` raises,
        and are killed at the end of the block. Otherwise both signals raise KeyboardInterrupt in
        them, and they are killed only if they have not ended after this many seconds.

    Examples
    --------
    >>> with Team(lambda member, order: member + order, [1, 2]) as team:
    ...     ordered = [team.order(member, 10) for member in (1, 2)]
    ...     [team.answer(member) for member in (1, 2)]
    [11, 12]
    """

    def __init__(
        self, work: Callable[[int, Order], Answer], members: Iterable[int], *, grace: float = 0.0
    ) -> None:
        self._work, self._numbers, self._grace = work, tuple(members), grace
        self._pipes: dict[int, Connection] = {}
        self._processes: list[BaseProcess] = []
        # Members that have not answered their order yet.
        self._busy: set[int] = set()
        # A pipe that nobody writes to: the members see its end when this process ends.
        self._alive: tuple[int, ...] = ()

    def __enter__(self) -> Team[Order, Answer]:
        try:
            self._alive = os.pipe()
            for number in self._numbers:
                self._start(number)
        except BaseException as error:
            self.__exit__(type(error))
            raise
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        for pipe in self._pipes.values():
            pipe.close()
        # A member that waits for an order ends when its pipe is closed.
        if self._grace and kind is not None:
            for process in self._processes:
                process.terminate()
        for process in self._processes:
            process.join(self._grace)
            if process.is_alive():
                process.kill()
                process.join()
        for end in self._alive:
            os.close(end)

    def order(self, member: int, order: Order) -> bool:
        """Send an order to an idle member; return False if the member is gone."""
        try:
            self._pipes[member].send(order)
        except OSError:
            return False
        self._busy.add(member)
        return True

    def answer(self, member: int) -> Answer:
        """Wait for the answer of one member.

        Raises
        ------
        EOFError
            The member is gone: it was killed, or `work` raised.
        """
        self._busy.discard(member)
        try:
            answer: Answer = self._pipes[member].recv()
        except OSError:
            raise EOFError from None
        return answer

    def answers(self) -> Iterator[tuple[int, Answer]]:
        """Yield members with their answers as they come, until no order is left to answer.

        The caller may send a member its next order during the iteration. Members that die are
        skipped.
        """
        while self._busy:
            members = {self._pipes[number]: number for number in self._busy}
            for pipe in wait(list(members)):
                number = members[pipe]  # type: ignore[index]
                with contextlib.suppress(EOFError):
                    yield number, self.answer(number)

    def _start(self, number: int) -> None:
        ours, theirs = multiprocessing.Pipe()
        self._pipes[number] = ours
        process = multiprocessing.get_context("fork").Process(
            target=self._serve, args=(number, theirs)
        )
        # Otherwise the member's end of the pipe would stay open here after the member dies.
        with theirs, warnings.catch_warnings():
            # The threads of BLAS are idle and are restarted after a fork.
            warnings.filterwarnings("ignore", message=".*multi-threaded.*fork")
            process.start()
        self._processes.append(process)

    def _serve(self, number: int, orders: Connection) -> None:
        """Answer orders; runs in a member."""
        alive, write = self._alive
        os.close(write)
        for inherited in self._pipes.values():
            inherited.close()
        threading.Thread(target=_end_with_parent, args=(alive,), daemon=True).start()
        expected: tuple[type[BaseException], ...] = (Exception,)
        if self._grace:
            interrupts.listen(once=True)
            expected = (KeyboardInterrupt, EOFError, ConnectionError)
        else:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            # A garbage collection would touch, and so copy, the shared memory.
            gc.disable()
        with contextlib.suppress(*expected):
            while True:
                orders.send(self._work(number, orders.recv()))


def _end_with_parent(alive: int) -> None:
    os.read(alive, 1)
    os.kill(os.getpid(), signal.SIGTERM)


@contextlib.contextmanager
def aside(work: Callable[[], T], processes: int) -> Iterator[Callable[[], T]]:
    """Start some work in a fork while this process continues with other work.

    Parameters
    ----------
    work : callable
        If it raises in the fork, or the fork is killed, it is called again in this process, so that
        the caller sees its own exception.
    processes : int
        How many processes may work at once, including this one. With 1, or if this process cannot
        fork safely, the work is done here when its answer is requested.

    Yields
    ------
    callable
        Returns what `work` returned; call it once.
    """
    if processes < 2 or not can_fork():
        yield work
        return
    with Team[None, T](lambda _, __: work(), [0]) as team:
        team.order(0, None)

        def answer() -> T:
            try:
                return team.answer(0)
            except EOFError:
                return work()

        yield answer
