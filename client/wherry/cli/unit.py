"""system install-unit, uninstall-unit, reload: this supervisor as a systemd service.

Owns the text of the two unit files and where they go. Must ask no supervisor for anything but a reload, and
who it is: one that a command has started has to go before the unit's can have its place.
"""

from __future__ import annotations

import os

from wherry.autostart import find_wherryd
from wherry.cli.parser import Command
from wherry.settings import DEFAULT_RUN_DIR
from wherry_protocol.errors import BadRequest, Busy, ConnectionFailed, KernelFailure
from wherry_protocol.typed import TYPE_CHECKING

if TYPE_CHECKING:
    from argparse import Namespace

    from wherry.cli.parser import Parser
    from wherry.client import Client

UNIT_DIR = "/etc/systemd/system"

END_TIMEOUT = 90.0
"""Seconds for another supervisor to end: it may be told to stop its containers first."""

_SUBGROUP_SINCE = 254
"""The first systemd that has DelegateSubgroup=."""

SERVICE = """\
# Written by 'wherry system install-unit'; put changes into a drop-in: systemctl edit {name}.service
[Unit]
Description=wherry container supervisor
After=network.target {name}.socket
Requires={name}.socket
StartLimitIntervalSec=0

[Service]
Type=notify
ExecStart={command}
ExecReload={reload}
{delegation}
# Only the supervisor: containers and what holds them go on while it is stopped, restarted or upgraded.
KillMode=process
Restart=always
RestartSec=500ms
TimeoutStartSec=120
TimeoutStopSec=90
WatchdogSec=30
LimitNOFILE=1048576
LimitNPROC=infinity
LimitCORE=infinity
TasksMax=infinity
OOMScoreAdjust=-500

[Install]
WantedBy=multi-user.target
"""

SOCKET = """\
# Written by 'wherry system install-unit'; put changes into a drop-in: systemctl edit {name}.socket
[Unit]
Description=wherry control socket

[Socket]
ListenStream={socket}
SocketMode=0600
DirectoryMode=0700
Backlog=512

[Install]
WantedBy=sockets.target
"""

DELEGATED = """\
# Our part of the cgroup tree; our own process is beside the containers', not above them.
Delegate=yes
DelegateSubgroup=supervisor"""

NOT_DELEGATED = f"""\
# No Delegate=yes before systemd {_SUBGROUP_SINCE} (DelegateSubgroup=): it could not start us again
# while containers run below its group. Without it they have a group of their own at the top."""


def _configure_install(parser: Parser) -> None:
    parser.add_argument("--print", action="store_true", help="print the files and write nothing")
    parser.add_argument(
        "--now", action="store_true", help="enable the socket and start the service (systemctl)"
    )
    _configure_place(parser)
    parser.list_below(
        [
            "The socket unit listens for the supervisor: the first command starts it. Containers go on while",
            "the service is stopped, restarted or upgraded; 'systemctl reload' reads its settings again.",
            "--run-dir and --state-dir before the command go into the unit.",
        ]
    )


def _configure_place(parser: Parser) -> None:
    parser.add_argument("--name", default="wherry", help="what the units are called (default wherry)")
    parser.add_argument(
        "--prefix", metavar="DIR", default="", help=f"a root directory before {UNIT_DIR}, as of an image"
    )


def _install(client: Client, args: Namespace) -> int:
    files = unit_files(client, args.name)
    if args.print:
        print("\n".join(f"# {path}\n{text}" for path, text in files.items()), end="")
        return 0
    if args.now and args.prefix:
        raise BadRequest("--now does not go with --prefix: those units are not this machine's")
    for path, text in files.items():
        _write(args.prefix + path, text)
        print(args.prefix + path)
    units = f"{args.name}.socket", f"{args.name}.service"
    if args.now:
        _systemctl("daemon-reload")
        other = _other_supervisor(client, units[1])
        if other is not None:
            _end(other)
        _systemctl("enable", "--now", *units)
    elif not args.prefix:
        other = _other_supervisor(client, units[1])
        first = "" if other is None else f"kill {other} && "  # its containers go on
        print(f"next: {first}systemctl daemon-reload && systemctl enable --now {' '.join(units)}")
    return 0


def _other_supervisor(client: Client, service: str) -> int | None:
    """Return the process id of the supervisor that answers, if it is not the unit's."""
    try:
        pid = client.info().pid
    except ConnectionFailed:
        return None
    try:
        ours = _systemctl("show", "--property=MainPID", "--value", service).strip()
    except BadRequest:
        ours = ""  # no systemd here: these units are written for later
    return None if ours == str(pid) else pid


def _end(pid: int) -> None:
    """End a supervisor, and wait for that: it has the socket and the state that the unit's is to have."""
    import select
    import signal

    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        signal.pidfd_send_signal(pidfd, signal.SIGTERM)
        if not select.select([pidfd], [], [], END_TIMEOUT)[0]:
            raise Busy(f"the supervisor with pid {pid} does not end", hint="see its log, or kill it")
    finally:
        os.close(pidfd)
    print(f"the supervisor that a command had started (pid {pid}) has ended; its containers go on")


def unit_files(client: Client, name: str) -> dict[str, str]:
    """Return the unit files by path. Raises BadRequest for a name that can be no unit's."""
    if not name or not all(letter.isalnum() or letter in ":-_.@" for letter in name):
        raise BadRequest(f"--name {name[:80]!r}: a unit's name has letters, digits and ':-_.@' only")
    directories = client.directories
    wherryd = find_wherryd()
    places: list[str] = []
    if directories.run_dir != DEFAULT_RUN_DIR:
        places += ["--run-dir", directories.run_dir]
    if directories.state_dir is not None:
        places += ["--state-dir", directories.state_dir]
    version = _systemd_version()
    delegation = DELEGATED if version is None or version >= _SUBGROUP_SINCE else NOT_DELEGATED
    # No kill(1): a small machine has none, and a setting that is refused is to be seen.
    reload = [os.path.join(os.path.dirname(wherryd), "wherry"), *places, "system", "reload"]
    service = SERVICE.format(
        name=name, command=_line([wherryd, *places]), reload=_line(reload), delegation=delegation
    )
    return {
        f"{UNIT_DIR}/{name}.service": service,
        f"{UNIT_DIR}/{name}.socket": SOCKET.format(name=name, socket=directories.socket.replace("%", "%%")),
    }


def _line(words: list[str]) -> str:
    return " ".join(map(_quoted, words))


def _quoted(word: str) -> str:
    """Return a word as systemd.service(5) reads it."""
    word = word.replace("%", "%%").replace("$", "$$")
    if word.replace("/", "").replace("-", "").replace(".", "").replace("_", "").isalnum():
        return word
    return '"' + word.replace("\\", "\\\\").replace('"', '\\"') + '"'


def _systemd_version() -> int | None:
    """Return this machine's systemd's version, None when there is none."""
    import subprocess

    try:
        done = subprocess.run(["systemctl", "--version"], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        return None
    words = done.stdout.split()
    return int(words[1]) if len(words) > 1 and words[1].isdigit() else None


def _write(path: str, text: str) -> None:
    fresh = f"{path}.new"
    try:
        os.makedirs(os.path.dirname(path), exist_ok=True)
        with open(fresh, "w", encoding="utf-8") as file:
            file.write(text)
            os.fchmod(file.fileno(), 0o644)
        os.rename(fresh, path)
    except OSError as error:
        raise KernelFailure(f"{path}: {error.strerror}", errno=error.errno, path=path) from error


def _systemctl(*words: str) -> str:
    import subprocess

    try:
        done = subprocess.run(["systemctl", *words], capture_output=True, text=True, check=False)
    except FileNotFoundError:
        raise BadRequest(
            "there is no systemctl on PATH", hint="is systemd this machine's service manager?"
        ) from None
    if done.returncode:
        reason = done.stderr.strip().splitlines() or [f"it ended with code {done.returncode}"]
        raise KernelFailure(f"systemctl {' '.join(words)}: {reason[-1]}")
    return done.stdout


def _configure_uninstall(parser: Parser) -> None:
    parser.add_argument("--now", action="store_true", help="stop and disable service and socket first")
    _configure_place(parser)


def _uninstall(_client: Client, args: Namespace) -> int:
    units = [f"{args.name}.service", f"{args.name}.socket"]
    paths = [f"{args.prefix}{UNIT_DIR}/{unit}" for unit in units]
    there = [path for path in paths if os.path.lexists(path)]
    if not there:
        raise BadRequest(f"{paths[0]}: there is no such unit", hint="see --name and --prefix")
    if args.now:
        _systemctl("disable", "--now", *units)
    for path in there:
        try:
            os.unlink(path)
        except OSError as error:
            raise KernelFailure(f"{path}: {error.strerror}", errno=error.errno, path=path) from error
        print(path)
    if args.now:
        _systemctl("daemon-reload")
    return 0


def _configure_reload(parser: Parser) -> None:
    parser.list_below(
        [
            "As SIGHUP: flags, environment and /etc/wherry/config.toml are read again. default_network,",
            "stop_containers and debug change at once; others when the supervisor is started again.",
        ]
    )


def _reload(client: Client, _args: Namespace) -> int:
    done = client.reload()
    for name, value in done.changed.items():
        print(f"{name}: {value}")
    for name, value in done.at_next_start.items():
        print(f"{name}: {value} (at the next start)")
    return 0


COMMANDS = {
    "system install-unit": Command(configure=_configure_install, execute=_install),
    "system uninstall-unit": Command(configure=_configure_uninstall, execute=_uninstall),
    "system reload": Command(configure=_configure_reload, execute=_reload),
}
