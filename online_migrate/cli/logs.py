"""Logging to stderr, as text or as JSON."""

from __future__ import annotations

import datetime
import json
import logging
from typing import Any

import click

from online_migrate.observe.events import ATTRIBUTE

LEVELS = ("debug", "info", "warning", "error")
FORMATS = ("text", "json")
LOGGER = "online_migrate"
STATEMENTS = "sqlalchemy.engine"
"""The logger of statements; oslo.config's connection_debug sets its level."""
_TEXT = "%(asctime)s %(levelname)s %(name)s: %(message)s"


class JSONFormatter(logging.Formatter):
    """Formats a record as one JSON document on one line."""

    def format(self, record: logging.LogRecord) -> str:
        document: dict[str, Any] = {
            "event": "log",
            "time": datetime.datetime.fromtimestamp(record.created, datetime.UTC).isoformat(),
            "level": record.levelname.lower(),
            "logger": record.name,
            "thread": record.threadName,
            "message": record.getMessage(),
        }
        event = getattr(record, ATTRIBUTE, None)
        if event is not None:
            document |= {"name": event.name, "fields": event.fields}
        if record.exc_info:
            document["exception"] = self.formatException(record.exc_info)
        return json.dumps(document, ensure_ascii=False)


class StderrHandler(logging.Handler):
    """Writes through click, which uses the current ``sys.stderr`` and its encoding."""

    def emit(self, record: logging.LogRecord) -> None:
        try:
            click.echo(self.format(record), err=True)
        except Exception:  # noqa: BLE001 - as in the logging module: a log line must not end the run
            self.handleError(record)


def configure(level: str | None, format: str | None) -> None:
    """Sends the log records of online-migrate to stderr. Defaults: level ``warning``, format ``text``.

    Other loggers, and handlers that env.py adds, are not changed.
    """
    handler = StderrHandler()
    handler.setFormatter(JSONFormatter() if format == "json" else logging.Formatter(_TEXT))
    for name, lowest in ((LOGGER, (level or "warning").upper()), (STATEMENTS, "WARNING")):
        logger = logging.getLogger(name)
        for old in [one for one in logger.handlers if isinstance(one, StderrHandler)]:
            logger.removeHandler(old)
        logger.addHandler(handler)
        logger.setLevel(lowest)
        logger.propagate = False
