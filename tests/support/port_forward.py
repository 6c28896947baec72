"""A forwarded port of a server that can be closed: simulates a network failure or a restart."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import Self

import sqlalchemy as sa


class PortForward:
    """Forwards its own port to a server; :attr:`url` leads through it."""

    def __init__(self, url: str) -> None:
        there = sa.make_url(url)
        assert there.host is not None
        assert there.port is not None
        self._target = (there.host, there.port)
        self._port = 0
        self._listener: socket.socket | None = None
        self._sockets: list[socket.socket] = []
        self._lock = threading.Lock()
        self.open()
        self.url = there.set(host="127.0.0.1", port=self._port).render_as_string(hide_password=False)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def open(self) -> None:
        """Accepts connections on the same port as before."""
        listener = socket.create_server(("127.0.0.1", self._port))
        self._port = listener.getsockname()[1]
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def close(self) -> None:
        """Breaks every connection, and refuses new ones."""
        with self._lock:
            if self._listener is not None:
                # A shutdown wakes the thread that waits in accept(); close() does not.
                _shut(self._listener)
                self._listener = None
            for one in self._sockets:
                _shut(one)
            self._sockets.clear()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                here, _address = listener.accept()
                there = socket.create_connection(self._target)
            except OSError:
                return
            with self._lock:
                if self._listener is not listener:
                    _shut(here)
                    _shut(there)
                    return
                self._sockets += [here, there]
            for one, other in ((here, there), (there, here)):
                threading.Thread(target=_forward, args=(one, other), daemon=True).start()


def _forward(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
    _shut(source)
    _shut(target)


def _shut(one: socket.socket) -> None:
    with contextlib.suppress(OSError):
        one.shutdown(socket.SHUT_RDWR)
    one.close()
