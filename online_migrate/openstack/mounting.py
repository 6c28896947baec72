"""Mounts ``DbCommands`` on a program: on argparse, on sub-commands of oslo.config, on click."""

from __future__ import annotations

import argparse
import inspect
from collections.abc import Callable
from typing import Any

import click

from online_migrate.openstack.arguments import Argument, arguments_of, commands_of


def add_parsers(subparsers: Any, commands: object, *, name: str = "db") -> argparse.ArgumentParser:
    """Adds the command group *name* to sub-parsers of argparse or of oslo.config, and returns its parser.

    For oslo.config it is the ``handler`` of a ``SubCommandOpt``. :func:`run_parsed` runs the command that was
    parsed.
    """
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help="online schema migrations")
    actions = parser.add_subparsers(dest="action", metavar="COMMAND", required=True)
    for action, method in commands_of(commands):
        text = inspect.getdoc(method) or ""
        one = actions.add_parser(action, help=text.partition("\n")[0], description=text)
        for argument in arguments_of(method):
            one.add_argument(*argument.names, **argument.keywords)
        names = [argument.dest for argument in arguments_of(method)]
        one.set_defaults(action_fn=method, action_kwargs=names)
    return parser


def run_parsed(parsed: Any) -> int:
    """Runs the command of :func:`add_parsers`, and returns its exit code.

    *parsed*: the namespace of argparse, or the attribute of the ``SubCommandOpt`` in the configuration.
    """
    given = {name: getattr(parsed, name) for name in parsed.action_kwargs}
    code: int = parsed.action_fn(**given)
    return code


def click_group(commands: object, *, name: str = "db") -> click.Group:
    """Returns the command group *name* for a program on click. The exit code is that of the command."""
    group = click.Group(name, help="Online schema migrations.")
    for action, method in commands_of(commands):
        parameters: list[click.Parameter] = [_click_option(one) for one in arguments_of(method)]
        callback, text = _exiting(method), inspect.getdoc(method)
        group.add_command(click.Command(action, callback=callback, params=parameters, help=text))
    return group


def _exiting(method: Callable[..., int]) -> Callable[..., None]:
    @click.pass_context
    def call(context: click.Context, /, **given: Any) -> None:
        context.exit(method(**{name: value or None for name, value in given.items()}))

    return call


def _click_option(argument: Argument) -> click.Option:
    keywords = argument.keywords
    return click.Option(
        [*argument.names, argument.dest],
        # Not False: click would then read a value that begins with "-" as another option.
        is_flag=True if keywords.get("action") == "store_true" else None,
        multiple=keywords.get("action") == "extend",
        metavar=keywords.get("metavar"),
        help=keywords.get("help"),
    )
