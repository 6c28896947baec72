"""Small ``*-manage`` programs, with the loops by which those of OpenStack find and call their commands."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping
from typing import Any

import click
from oslo_config import cfg

from online_migrate.openstack import manage

Program = Callable[[object, list[str]], object]


def _methods_of(commands: object) -> list[tuple[str, Any]]:
    names = [name for name in dir(commands) if not name.startswith("_")]
    return [(name, getattr(commands, name)) for name in names if callable(getattr(commands, name))]


def like_cinder(commands: object, argv: list[str]) -> object:
    """The loop of ``cinder.cmd.manage``; what a command returns is ignored, so it has to exit."""
    conf = cfg.ConfigOpts()

    def add_command_parsers(subparsers: Any) -> None:
        parser = subparsers.add_parser("db")
        category_subparsers = parser.add_subparsers(dest="action")
        for action, action_fn in _methods_of(commands):
            parser = category_subparsers.add_parser(action)
            for args, kwargs in getattr(action_fn, "args", []):
                parser.add_argument(*args, **kwargs)
            parser.set_defaults(action_fn=action_fn)

    conf.register_cli_opt(cfg.SubCommandOpt("category", handler=add_command_parsers))
    conf(argv, project="cinder", default_config_files=[])
    fn = conf.category.action_fn
    fn(**{kwargs["dest"]: getattr(conf.category, kwargs["dest"]) for _, kwargs in getattr(fn, "args", [])})
    return None


def like_nova(commands: object, argv: list[str]) -> object:
    """The loop of ``nova.cmd.common`` and of ``glance.cmd.manage``, which rename the destinations."""
    conf = cfg.ConfigOpts()

    def add_command_parsers(subparsers: Any) -> None:
        parser = subparsers.add_parser("db")
        category_subparsers = parser.add_subparsers(dest="action")
        for action, action_fn in _methods_of(commands):
            parser = category_subparsers.add_parser(action)
            action_kwargs = []
            for args, kwargs in getattr(action_fn, "args", []):
                if kwargs["dest"].startswith("action_kwarg_"):
                    action_kwargs.append(kwargs["dest"][len("action_kwarg_") :])
                else:
                    action_kwargs.append(kwargs["dest"])
                    kwargs["dest"] = "action_kwarg_" + kwargs["dest"]
                parser.add_argument(*args, **kwargs)
            parser.set_defaults(action_fn=action_fn, action_kwargs=action_kwargs)
            parser.add_argument("action_args", nargs="*", help=argparse.SUPPRESS)

    conf.register_cli_opt(cfg.SubCommandOpt("category", handler=add_command_parsers))
    conf(argv, project="nova", default_config_files=[])
    values = {name: getattr(conf.category, f"action_kwarg_{name}") for name in conf.category.action_kwargs}
    given = {name: value for name, value in values.items() if value is not None}
    return conf.category.action_fn(*conf.category.action_args, **given)


def like_keystone(commands: object, argv: list[str]) -> object:
    """Sub-commands of oslo.config with a handler."""
    conf = cfg.ConfigOpts()
    handler = lambda subparsers: manage.add_parsers(subparsers, commands)  # noqa: E731 - as short as in a program
    conf.register_cli_opt(cfg.SubCommandOpt("command", handler=handler))
    conf(argv, project="keystone", default_config_files=[])
    return manage.run_parsed(conf.command)


def on_argparse(commands: object, argv: list[str]) -> object:
    """Plain argparse."""
    parser = argparse.ArgumentParser("volume-manage")
    manage.add_parsers(parser.add_subparsers(required=True), commands)
    return manage.run_parsed(parser.parse_args(argv))


def on_click(commands: object, argv: list[str]) -> object:
    """A program on click."""
    program = click.Group("volume-manage")
    program.add_command(manage.click_group(commands))
    return program.main(argv, standalone_mode=False)


PROGRAMS: Mapping[str, Program] = {
    # cinder before nova: nova's loop changes what cinder's reads, and they are never in one process.
    "cinder": like_cinder,
    "keystone": like_keystone,
    "argparse": on_argparse,
    "click": on_click,
    "nova": like_nova,
}
