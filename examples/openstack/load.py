"""The users: threads that create, resize and show volumes by requests to volume-api, and check each answer.

A thread uses only volumes of its own. So at any time the correct size of each volume is known.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Mapping
from typing import Any

import oslo_messaging

PATIENCE = 60.0
"""Seconds after which a request has failed."""


class Load:
    """All threads, the requests so far, and the size of each volume by the answers. Thread-safe."""

    def __init__(
        self, transport: oslo_messaging.RPCTransport, sizes: Mapping[int, int], *, users: int = 3
    ) -> None:
        target = oslo_messaging.Target(topic="volume-api", version="1.0")
        self._client = oslo_messaging.get_rpc_client(transport, target, timeout=PATIENCE)
        self._lock = threading.Lock()
        self._stopped = threading.Event()
        self.sizes = dict(sizes)
        """id -> GiB, as acknowledged."""
        self.unknown: set[int] = set()
        """The volumes whose resize has failed: it may have been executed or not."""
        self.failed_creates = 0
        self.requests = 0
        self.failures: list[str] = []
        mine = [[one for one in sizes if one % users == number] for number in range(users)]
        self._threads = [
            threading.Thread(target=self._work, args=(number, ids), daemon=True)
            for number, ids in enumerate(mine)
        ]

    def start(self) -> None:
        """Starts the threads."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Stops the threads after their current request."""
        self._stopped.set()
        for thread in self._threads:
            if thread.is_alive():
                thread.join()

    def wait_for_more(self, requests: int) -> None:
        """Waits for so many requests from now on."""
        end = self.requests + requests
        while self.requests < end:
            time.sleep(0.02)

    def _work(self, number: int, ids: list[int]) -> None:
        chance = random.Random(number)
        while not self._stopped.is_set():
            kind = chance.choice(["create", "resize", "resize", "show", "show"])
            size = chance.randint(1, 1000)
            if kind == "create":
                self._create(ids, size)
            elif kind == "resize":
                self._resize(chance.choice(ids), size)
            else:
                self._show(chance.choice(ids))

    def _create(self, ids: list[int], size: int) -> None:
        answer = self._request("create", size=size)
        if self._is(answer, f"create of {size} GiB", id=answer.get("id"), size=size):
            with self._lock:
                self.sizes[answer["id"]] = size
            ids.append(answer["id"])
        else:
            self.failed_creates += 1

    def _resize(self, volume: int, size: int) -> None:
        answer = self._request("resize", volume_id=volume, size=size)
        if self._is(answer, f"resize of {volume} to {size} GiB", id=volume, size=size):
            self.sizes[volume] = size
            self.unknown.discard(volume)
        else:
            self.unknown.add(volume)

    def _show(self, volume: int) -> None:
        answer = self._request("show", volume_id=volume)
        size = answer.get("size") if volume in self.unknown else self.sizes[volume]
        self._is(answer, f"show of {volume}, which has {size} GiB", id=volume, size=size)

    def _request(self, method: str, **arguments: int) -> dict[str, Any]:
        """Returns the answer, or the error that the user got instead of it."""
        try:
            return self._client.call({}, method, **arguments)
        except Exception as error:  # noqa: BLE001 - whatever arrives instead of an answer is a failure
            return {"error": f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"}

    def _is(self, answer: dict[str, Any], what: str, **expected: int | None) -> bool:
        """Counts a request. True if its answer is what is expected; otherwise it has failed."""
        with self._lock:
            self.requests += 1
            if answer == expected:
                return True
            self.failures.append(f"{what}: {answer.get('error', answer)}")
            return False
