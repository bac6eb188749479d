"""vagrant/vm as a program: what it returns, and that it leaves nothing, however it ends.

The script is the real one; what it would boot is a stand-in that takes the same arguments.
"""

from __future__ import annotations

import os
import platform
import re
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support.forms import within
from support.terminal import Terminal

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TOP = Path(__file__).parents[2]
KERNEL = """#!/bin/sh
for each; do
    case "$each" in
        ubd1=*) job=${each#ubd1=} ;;
        ubd2=*) result=${each#ubd2=} ;;
    esac
done
# As user-mode Linux does with a terminal.
stty raw -echo <&1 2>/dev/null
eval "$(tar -xOf "$job" arguments/1000)"
"""
MAKES = '#!/bin/sh\ncp "$(dirname "$0")/stand-in" "$2"\n'
FAILS = "#!/bin/sh\necho no such package >&2\nexit 9\n"
GOES_ON = 'setsid -f sh -c "sleep 1000; :" "$0"; echo it runs; sleep 1000'

pytestmark = pytest.mark.skipif(
    platform.machine() != "x86_64", reason="vagrant/vm runs on x86_64 only: user-mode Linux does"
)


class Checkout:
    """What vagrant/vm needs of one, with a stand-in for what it boots; and its cache."""

    def __init__(self, folder: Path) -> None:
        self.scripts = folder / "checkout/vagrant"
        self.cache = folder / "cache"
        shutil.copytree(TOP / "vagrant", self.scripts)
        shutil.copy(TOP / "pyproject.toml", self.scripts.parent)
        self.put("stand-in", KERNEL)
        for name in ("vm-kernel", "vm-image"):
            self.put(name, MAKES)

    def put(self, name: str, text: str) -> None:
        (self.scripts / name).write_text(text)
        (self.scripts / name).chmod(0o755)

    @property
    def command(self) -> Sequence[str]:
        return (str(self.scripts / "vm"), "--run")

    @property
    def environment(self) -> dict[str, str]:
        return {**os.environ, "WHERRY_VM_CACHE": str(self.cache)}

    def run(self, script: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run to the end what the stand-in is to do."""
        return subprocess.run(
            [*self.command, script],
            env=self.environment | environment,
            capture_output=True,
            text=True,
            timeout=within(20),
            check=False,
        )

    def left(self) -> list[str]:
        """What a run has left: files of the cache but those made once, processes, mounts."""
        made = ("linux-", "root-")
        found = [str(path) for path in self.cache.iterdir() if not path.name.startswith(made)]
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                arguments = (folder / "cmdline").read_bytes().decode(errors="replace")
            except (FileNotFoundError, ProcessLookupError):
                continue
            if str(self.cache) in arguments:
                found.append(f"process {folder.name}: {arguments}")
        lines = Path("/proc/self/mountinfo").read_text().splitlines()
        return [*found, *(line for line in lines if str(self.cache) in line)]


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    made = Checkout(tmp_path)
    yield made
    deadline = time.monotonic() + within(5)
    while made.left() and time.monotonic() < deadline:
        time.sleep(0.02)
    assert made.left() == [], "left after the next run"


def test_it_shows_what_the_machine_says_and_exits_as_it_did(checkout: Checkout) -> None:
    done = checkout.run("echo one; echo two >&2; echo three; printf 3 >$result")
    assert (done.returncode, done.stdout, done.stderr) == (3, "one\nthree\n", "two\n")
    assert checkout.left() == []


@pytest.mark.parametrize(
    ("last", "words"),
    [
        ("exit 1", "NO RUN: it ended with 1 and without a result"),
        ("sleep 1000", "NO RUN: it took more than 1 seconds"),
    ],
)
def test_a_machine_that_does_not_come_to_a_result_is_no_run(
    checkout: Checkout, last: str, words: str
) -> None:
    """It says so, after what the machine said itself."""
    done = checkout.run(f"echo Kernel panic; {last}", WHERRY_VM_TIMEOUT="1")
    assert (done.returncode, done.stdout) == (125, "Kernel panic\n")
    assert words in done.stderr
    assert checkout.left() == []


def test_a_kernel_that_cannot_be_executed_is_no_run(checkout: Checkout) -> None:
    checkout.put("vm-kernel", '#!/bin/sh\necho "no program" >"$2"\n')
    done = checkout.run("true")
    assert done.returncode == 125
    assert "NO RUN: it ended with 126 and without a result" in done.stderr
    assert checkout.left() == []


def test_what_cannot_be_made_is_no_run_and_is_made_the_next_time(checkout: Checkout) -> None:
    checkout.put("vm-image", FAILS)
    done = checkout.run("true")
    assert (done.returncode, done.stdout) == (125, "")
    assert done.stderr == "no such package\nvagrant/vm: NO RUN: vm-image ended with 9\n"
    assert checkout.left() == []
    checkout.put("vm-image", MAKES)
    assert checkout.run("printf 0 >$result").returncode == 0


@pytest.mark.parametrize("signum", [signal.SIGHUP, signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_machine_at_once_and_leaves_nothing(
    checkout: Checkout, signum: signal.Signals
) -> None:
    with subprocess.Popen(
        [*checkout.command, GOES_ON], env=checkout.environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"it runs\n"
        process.send_signal(signum)
        assert process.wait(within(5)) == 128 + signum
        assert checkout.left() == []


def test_ctrl_c_ends_it_on_a_terminal(checkout: Checkout) -> None:
    """The keys are not the machine's; and the terminal is as it was."""
    with Terminal([*checkout.command, GOES_ON], checkout.environment) as terminal:
        before = terminal.before
        terminal.expect("it runs\r\n")
        terminal.send(b"\x03")
        assert terminal.wait() == 130
        assert terminal.attributes() == before
    assert checkout.left() == []


def test_nothing_outlives_a_sigkill_and_the_next_run_clears_up(checkout: Checkout) -> None:
    with subprocess.Popen(
        [*checkout.command, GOES_ON], env=checkout.environment, stdout=subprocess.PIPE
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"it runs\n"
        process.kill()
        assert process.stdout.read() == b"", "whoever had it has ended"
    assert checkout.run("printf 0 >$result").returncode == 0
    assert checkout.left() == []


def test_newlines_and_nothing_arrive_as_they_are(checkout: Checkout) -> None:
    script = 'echo "a\n\nb"\n\nprintf 0 >$result'
    done = subprocess.run(
        [*checkout.command, script, "", "c\n"], env=checkout.environment, capture_output=True, check=False
    )
    assert (done.returncode, done.stdout) == (0, b"a\n\nb\n")


def test_the_machines_have_what_the_tests_need() -> None:
    """What the README installs for them, but for what only benches measure beside, or comes along."""
    readme = (TOP / "README.md").read_text()
    (command,) = re.findall(r"<!-- command: test -->\n```sh\n(.*)\n```", readme)
    wanted = command.partition("apt-get install -y ")[2].partition(" && ")[0].split()
    packages = (TOP / "vagrant/packages").read_text().splitlines()
    assert set(wanted) - set(packages) == {"crun", "libnftables1"}


def test_the_scripts_are_such_as_sh_reads() -> None:
    """Debian's sh is dash; -n reads everything and runs nothing."""
    for path in sorted((TOP / "vagrant").iterdir()):
        first = path.read_text().partition("\n")[0]
        if first == "#!/bin/sh":
            subprocess.run(["sh", "-n", path], check=True)
        elif first == "#!/usr/bin/env python3":
            compile(path.read_text(), path, "exec")
