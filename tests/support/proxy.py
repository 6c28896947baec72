"""A TCP proxy between a command and its server, which cuts connections at chosen moments.

with Proxy(database.url) as proxy:
    proxy.cut_at_commit(1, answered=True)  # the server commits, and the client never learns it
    ...  # proxy.url leads through the proxy
"""

from __future__ import annotations

import contextlib
import re
import selectors
import socket
import threading
from collections.abc import Callable
from typing import Self

import sqlalchemy as sa

_COMMIT = re.compile(rb"\bCOMMIT\b", re.IGNORECASE)
_STEP = 0.02
"""Seconds after which a thread looks whether it is to end."""
_BLOCK = 65_536


class Proxy:
    """Forwards bytes in both directions, a thread for each connection, until the ``with`` block ends."""

    def __init__(self, url: str) -> None:
        target = sa.make_url(url)
        self._target = (target.host or "127.0.0.1", target.port or 0)
        self._listener = socket.create_server(("127.0.0.1", 0))
        port = self._listener.getsockname()[1]
        # Under TLS a proxy sees no statement.
        plain = {"ssl_disabled": "true"} if "pymysql" in target.drivername else {"sslmode": "disable"}
        through = target.set(host="127.0.0.1", port=port).update_query_dict(plain)
        self.url = through.render_as_string(hide_password=False)
        self.opened = 0
        """The connections so far."""
        self.most = 0
        """The connections that were open at the same time, at the most."""
        self.cuts = 0
        """The connections that were cut so far."""
        self._pairs: set[_Pair] = set()
        self._lock = threading.Lock()
        self._end = threading.Event()
        self._refusing = False
        self._commit: _AtCommit | None = None
        self._threads: list[threading.Thread] = []
        self._acceptor = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._acceptor.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._end.set()
        self._listener.close()
        self.cut()
        for thread in [self._acceptor, *self._threads]:
            thread.join(timeout=10)

    # --- what a test asks for --------------------------------------------------------------------

    def cut(self) -> None:
        """Cuts every connection now."""
        with self._lock:
            pairs = list(self._pairs)
        for pair in pairs:
            self.cuts += pair.cut()

    def refuse(self, *, refusing: bool = True) -> None:
        """Closes every new connection at once, or does so no more."""
        self._refusing = refusing

    def cut_at_commit(
        self, number: int, *, answered: bool, after: bytes = b"", times: int = 1, refusing: bool = False
    ) -> None:
        """Cuts the connection that sends the *number*-th COMMIT from now on, and *times* - 1 later ones.

        *answered*: after the server has answered it; else the server never gets it. *after*: only the
        connections are counted that sent this pattern before. *refusing*: nobody can connect after the cut.
        """
        self._commit = _AtCommit(number, times, answered, after, refusing)

    def stop_cutting(self) -> None:
        """Cuts at no COMMIT any more."""
        self._commit = None

    # --- its threads -----------------------------------------------------------------------------

    def _accept(self) -> None:
        while not self._end.is_set():
            try:
                client, _address = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(self._target, timeout=10)
            except OSError:
                client.close()
                continue
            pair = _Pair(client, server)
            with self._lock:
                self._pairs.add(pair)
                self.opened += 1
                self.most = max(self.most, len(self._pairs))
            thread = threading.Thread(target=self._forward, args=(pair,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _forward(self, pair: _Pair) -> None:
        try:
            pair.run(self._at_commit, self._end.is_set)
        finally:
            pair.close()
            with self._lock:
                self._pairs.discard(pair)

    def _at_commit(self, seen: set[bytes], sent: bytes) -> bool | None:
        """What becomes of the bytes of a client.

        None: they are forwarded. True: they are, and the answer is not. False: the connection is cut.
        """
        wanted = self._commit
        if wanted is None:
            return None
        if wanted.after and re.search(wanted.after, sent):
            seen.add(wanted.after)
        if not _COMMIT.search(sent) or (wanted.after and wanted.after not in seen):
            return None
        with self._lock:
            wanted.number -= 1
            if wanted.number > 0 or wanted.times <= 0:
                return None
            wanted.times -= 1
            self.cuts += 1
            self._refusing = self._refusing or wanted.refusing
        return wanted.answered


class _AtCommit:
    def __init__(self, number: int, times: int, answered: bool, after: bytes, refusing: bool) -> None:
        self.number = number
        self.times = times
        self.answered = answered
        self.after = after
        self.refusing = refusing


class _Pair:
    """A connection of a client, and the one to the server that belongs to it."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self._client = client
        self._server = server
        self._cut = threading.Event()

    def cut(self) -> bool:
        """Ends both; False if that was done before."""
        if self._cut.is_set():
            return False
        self._cut.set()
        return True

    def close(self) -> None:
        for end in (self._client, self._server):
            with contextlib.suppress(OSError):
                end.close()

    def run(self, at_commit: Callable[[set[bytes], bytes], bool | None], ended: Callable[[], bool]) -> None:
        seen: set[bytes] = set()
        swallow = False
        with selectors.DefaultSelector() as ready:
            ready.register(self._client, selectors.EVENT_READ, self._server)
            ready.register(self._server, selectors.EVENT_READ, self._client)
            while not self._cut.is_set() and not ended():
                for key, _events in ready.select(timeout=_STEP):
                    source, target = key.fileobj, key.data
                    assert isinstance(source, socket.socket)
                    try:
                        data = source.recv(_BLOCK)
                        if not data:
                            return
                        if source is self._client:
                            verdict = at_commit(seen, data)
                            if verdict is False:
                                return
                            swallow = swallow or verdict is True
                        elif swallow:
                            # The server has answered, and so has done it.
                            return
                        target.sendall(data)
                    except OSError:
                        return
