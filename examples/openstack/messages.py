"""The forms of the messages that arrive: arguments at volume-volume, versioned objects at all services."""

from __future__ import annotations

import collections
import threading
from collections.abc import Callable
from typing import Any

from online_migrate.openstack.objects import PinnedSerializer


class Messages:
    """The forms of the messages that arrived, each with its number. Thread-safe."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._counts: collections.Counter[str] = collections.Counter()

    def add(self, form: str) -> None:
        """Counts a message."""
        with self._lock:
            self._counts[form] += 1

    def taken(self) -> dict[str, int]:
        """Returns the forms since the last call."""
        with self._lock:
            counts, self._counts = self._counts, collections.Counter()
        return dict(sorted(counts.items()))


class WatchedEndpoint:
    """An endpoint whose messages are counted by the names of their arguments."""

    def __init__(self, manager: Any, messages: Messages) -> None:
        self.target = manager.target
        self._manager = manager
        self._messages = messages

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._manager, name)

        def call(ctxt: Any, **arguments: Any) -> Any:
            self._messages.add(f"{name}({', '.join(arguments)})")
            return method(ctxt, **arguments)

        return call


class WatchedSerializer(PinnedSerializer):
    """A serializer that counts the volumes that arrive, by their version and the field of the size."""

    def __init__(self, messages: Messages, *arguments: Any, **more: Any) -> None:
        super().__init__(*arguments, **more)
        self._messages = messages

    def deserialize_entity(self, context: Any, entity: Any) -> Any:
        """Returns the object of a message."""
        if isinstance(entity, dict) and "versioned_object.data" in entity:
            fields = [name for name in entity["versioned_object.data"] if name.startswith("size")]
            self._messages.add(f"Volume {entity['versioned_object.version']} ({', '.join(fields)})")
        return super().deserialize_entity(context, entity)
