"""Every command and snippet in README.md and docs/ is run, top to bottom, in an empty directory per page.

``<!-- file: PATH -->`` before a block writes it to PATH; a ``console`` block is run line by line, and its
output must match the page, where ``...`` matches any lines; ``# exit code N`` after a command gives its
exit code; ``<!-- not run: WHY -->`` before a block gives the reason why it is not run.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from tests.support import forks

ROOT = Path(__file__).parents[2]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").glob("*.md")])
_BLOCK = re.compile(
    r"(?:^<!-- (?P<what>file|not run): (?P<argument>.*?) -->\n)?^```(?P<language>\w*)\n(?P<text>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_EXIT_CODE = re.compile(r"\s+# exit code (\d+)$")


@dataclasses.dataclass
class Block:
    """A fenced block of a page."""

    language: str
    text: str
    file: str | None
    not_run: str | None
    line: int


def blocks_of(page: Path) -> Iterator[Block]:
    """The fenced blocks of a page, in order."""
    text = page.read_text(encoding="utf-8")
    for match in _BLOCK.finditer(text):
        what, argument = match["what"], match["argument"]
        yield Block(
            language=match["language"],
            text=match["text"],
            file=argument if what == "file" else None,
            not_run=argument if what == "not run" else None,
            line=text.count("\n", 0, match.start()) + 1,
        )


@dataclasses.dataclass
class Command:
    """A command of a console block, and the output that the page shows."""

    text: str
    exit_code: int
    shown: list[str]


def commands_of(block: Block) -> list[Command]:
    """The commands of a console block."""
    found: list[Command] = []
    for line in block.text.splitlines():
        if line.startswith("$ "):
            code = _EXIT_CODE.search(line)
            found.append(Command(_EXIT_CODE.sub("", line[2:]), int(code[1]) if code else 0, []))
        else:
            found[-1].shown.append(line)
    return found


def matches(shown: list[str], actual: list[str]) -> bool:
    """True if *actual* is what is *shown*, with ``...`` for any lines."""
    pattern = "".join(r"(?:.*\n)*" if line == "..." else re.escape(line) + "\n" for line in shown)
    return re.fullmatch(pattern, "".join(f"{line}\n" for line in actual)) is not None


class Shell:
    """Runs commands one after the other in a directory; ``export`` stays in effect."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = dict(os.environ) | {
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
            "PYTHONUNBUFFERED": "1",
        }
        self.environment.pop("ONLINE_MIGRATE_URL", None)

    def run(self, command: Command) -> tuple[int, list[str]]:
        """Returns the exit code and the lines of stdout and stderr, interleaved as in a terminal."""
        exported = re.fullmatch(r"export (\w+)=(\S*)", command.text)
        if exported:
            self.environment[exported[1]] = exported[2]
            return 0, []
        words = plain_command(command.text)
        if words is not None:
            return self._run_forked(words)
        done = subprocess.run(
            ["bash", "-c", command.text],
            cwd=self.folder,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=120,
            check=False,
        )
        return done.returncode, [line.rstrip() for line in done.stdout.splitlines()]

    def _run_forked(self, arguments: Sequence[str]) -> tuple[int, list[str]]:
        """Runs a command of online-migrate in a process that need not import it first."""
        with tempfile.NamedTemporaryFile("r", encoding="utf-8") as output:
            out = Path(output.name)
            process = forks.start(
                forks.command,
                arguments,
                folder=self.folder,
                environment=self.environment,
                out=out,
                err=out,
            )
            process.join(120)
            if process.is_alive():
                process.kill()
                raise AssertionError(f"online-migrate {shlex.join(arguments)} did not end:\n{output.read()}")
            assert process.exitcode is not None
            return process.exitcode, [line.rstrip() for line in output.read().splitlines()]


def plain_command(text: str) -> list[str] | None:
    """The arguments of a command that is online-migrate and nothing else; None if it needs a shell."""
    if re.search(r"[|&;<>$`*?(){}~!#\n]", text):
        return None
    program, *arguments = shlex.split(text)
    return arguments if program == "online-migrate" else None


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_page(page: Path, tmp_path: Path) -> None:
    """Every command of the page exits and prints as the page shows."""
    shell = Shell(tmp_path)
    run = 0
    for block in blocks_of(page):
        if block.file is not None:
            path = tmp_path / block.file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(block.text, encoding="utf-8")
        elif block.language == "console":
            for command in commands_of(block):
                code, output = shell.run(command)
                seen = "\n".join(output)
                where = f"{page.name}:{block.line}: $ {command.text}"
                assert code == command.exit_code, f"{where}\nexited with {code}:\n{seen}"
                if command.shown:
                    assert matches(command.shown, output), f"{where}\nprinted:\n{seen}"
                run += 1
        else:
            assert block.not_run or block.language in ("", "text"), (
                f"{page.name}:{block.line}: a {block.language} block that is not run"
            )
    assert run or page.name in (
        "CONTRIBUTING.md",
        "architecture.md",
        "openstack-verdicts.md",
        "openstack-trees.md",
    ), f"{page.name} runs nothing"


def test_pages_are_found() -> None:
    """An empty list of pages would pass every test."""
    assert {"README.md", "CONTRIBUTING.md"} <= {page.name for page in PAGES}
