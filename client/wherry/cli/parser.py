"""argparse with docker's manners: options end at the image, errors are one line, exit code 125.

Owns how a command line is read; must never know a command.
"""

from __future__ import annotations

import argparse

from wherry.cli.main import UsageError
from wherry_protocol.typed import TYPE_CHECKING
from wherry_protocol.value import Value

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any, NoReturn

    from wherry.client import Client

_HELP_WIDTH = 100


class Command(Value):
    """A verb: `configure` adds its options to a parser, `execute` runs it and returns the exit code."""

    configure: Callable[[Parser], None]
    execute: Callable[[Client, Any], int]


def _formatter(prog: str) -> argparse.HelpFormatter:
    """Return a formatter that knows its width: argparse makes one per option, and asks `shutil` (3 ms)."""
    return argparse.HelpFormatter(prog, width=_HELP_WIDTH)


def _raw_formatter(prog: str) -> argparse.HelpFormatter:
    """Return one that leaves the lines of a list alone."""
    return argparse.RawDescriptionHelpFormatter(prog, width=_HELP_WIDTH)


class Parser(argparse.ArgumentParser):
    """A command's options. With `trailing` set, the words from the first operand on are left alone."""

    def __init__(self, name: str, description: str, *, short_help: bool = True) -> None:
        super().__init__(
            prog=f"wherry {name}", description=description, formatter_class=_formatter,
            allow_abbrev=False, add_help=False,
        )  # fmt: skip
        self.name = name
        self.trailing: str | None = None
        self._to_section: Callable[..., argparse.Action] | None = None
        self._help = self.add_argument("-h", "--help", action="help", help="print this")
        if not short_help:
            self._help.option_strings = ["--help"]

    def section(self, title: str) -> None:
        """Have the options that are added from now on stand under a title of their own in the help."""
        self._to_section = self.add_argument_group(title).add_argument

    def add_argument(self, *names: str, **how: Any) -> argparse.Action:
        """Add an option to the section, or an argument. As argparse's."""
        if self._to_section is not None and names and names[0].startswith("-"):
            return self._to_section(*names, **how)
        return super().add_argument(*names, **how)

    def stop_at_operand(self, usage: str) -> None:
        """Let options end at the first operand: it and all that follows land in `operands`."""
        self.trailing = usage
        self.usage = f"{self.prog} [OPTIONS] {usage}"

    def list_below(self, lines: Sequence[str]) -> None:
        """Print lines as they are after the help."""
        self.formatter_class = _raw_formatter
        self.epilog = "\n".join(lines)

    def parse(self, argv: list[str]) -> argparse.Namespace:
        """Read a command line. Raises UsageError."""
        if self.trailing is None:
            return self.parse_args(argv)
        end = self._first_operand(argv)
        args = self.parse_args(argv[:end])
        operands = argv[end:]
        args.operands = operands[1:] if operands[:1] == ["--"] else operands
        return args

    def error(self, message: str) -> NoReturn:
        """Raise what argparse would print."""
        raise UsageError(f"{self.name}: {message}", hint=f"see 'wherry {self.name} --help'")

    def _first_operand(self, argv: list[str]) -> int:
        index = 0
        while index < len(argv) and argv[index].startswith("-") and argv[index] not in {"-", "--"}:
            index += 2 if self._wants_next(argv[index]) else 1
        return min(index, len(argv))

    def _wants_next(self, word: str) -> bool:
        """Say whether an option word takes the word after it as its value."""
        if word.startswith("--"):
            return word in self._with_value
        for place, letter in enumerate(word[1:], start=2):
            if f"-{letter}" in self._with_value:
                return place == len(word)
        return False

    @property
    def _with_value(self) -> set[str]:
        return {word for action in self._actions if action.nargs != 0 for word in action.option_strings}
