"""Calls within a limit of time, each in a thread: a call that does not return is abandoned."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping
from typing import TypeVar

T = TypeVar("T")


def answers_within(seconds: float, calls: Mapping[str, Callable[[], T]]) -> dict[str, T]:
    """Makes all *calls* at the same time, and returns what they returned within *seconds*, by their names.

    A call must not raise.
    """
    answers: dict[str, T] = {}
    threads = [_start(answers, name, call) for name, call in calls.items()]
    end = time.monotonic() + seconds
    for thread in threads:
        thread.join(max(0.0, end - time.monotonic()))
    return dict(answers)


def no_answer(seconds: float) -> str:
    """Returns the reason of a call that did not return within *seconds*."""
    return f"no answer within {seconds:g} s (look_timeout)"


def _start(answers: dict[str, T], name: str, call: Callable[[], T]) -> threading.Thread:
    def run() -> None:
        answers[name] = call()

    thread = threading.Thread(target=run, name=f"online-migrate services {name}", daemon=True)
    thread.start()
    return thread
