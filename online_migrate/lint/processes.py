"""Calls a function for each of several values, in parallel processes."""

from __future__ import annotations

import logging
import multiprocessing
import signal
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

logger = logging.getLogger(__name__)
T = TypeVar("T")
R = TypeVar("R")
_inherited: dict[str, Any] = {}
"""In a forked process: the function and its arguments, which need not be serialized."""


def in_processes(function: Callable[[T], R], arguments: Sequence[T], processes: int) -> list[R]:
    """Returns the results of *function* for *arguments*, in their order.

    *processes*: at most so many are forked; with 1, on a system without fork, and in a daemon of
    multiprocessing, which may have no children, the calls are made in this process. The results have to be
    serializable. An error of a call is raised. The caller has no other threads: a lock that one of them holds
    would stay locked in the forked process.
    """
    processes = min(processes, len(arguments))
    may_fork = (
        "fork" in multiprocessing.get_all_start_methods() and not multiprocessing.current_process().daemon
    )
    if processes <= 1 or not may_fork:
        return [function(argument) for argument in arguments]
    context = multiprocessing.get_context("fork")
    try:
        with ProcessPoolExecutor(processes, context, _begin, (function, arguments)) as pool:
            return list(pool.map(_call, range(len(arguments))))
    except BrokenProcessPool:
        # A script that ends the process, or too little memory for several of them.
        logger.warning("a process has ended before its time; the scripts are read again in this process")
        return [function(argument) for argument in arguments]


def _begin(function: Callable[[T], R], arguments: Sequence[T]) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the process that waits for the results handles it
    _inherited.update(function=function, arguments=arguments)


def _call(position: int) -> Any:
    return _inherited["function"](_inherited["arguments"][position])
