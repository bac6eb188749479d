"""Healthchecks of real containers: what probes are, what they find, and that they never stand in the way."""

from __future__ import annotations

import itertools
import json
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from support import imagekit
from support.asking import asked
from support.forms import within
from support.waiting import wait_for

from wherry import BadRequest, Conflict, Event, HealthCheck, RunSpec, Volume
from wherry_protocol.containers import Wait
from wherry_protocol.health import WaitHealthy

if TYPE_CHECKING:
    from support.busybox import Archives
    from support.daemon import Daemon

    from wherry import Client

PATIENCE = within(20.0)
FAST = 0.02


def shell(line: str, **fields: float) -> HealthCheck:
    fields = {"interval": FAST, "timeout": 10.0, **fields}
    return HealthCheck(test=("CMD-SHELL", line), **fields)  # type: ignore[arg-type]  # its fields


def spec(image: Path, health: HealthCheck | None, **more: object) -> RunSpec:
    return RunSpec(image=str(image), command=("sleep", "1000"), health=health, **more)  # type: ignore[arg-type]  # its fields


def logged(client: Client, ref: str) -> list[tuple[int, str]]:
    health = client.inspect(ref).health
    return [(probe.exit_code, probe.output) for probe in health.log] if health else []


def processes(daemon: Daemon, ref: str) -> int:
    with daemon.client() as client:
        path = client.inspect(ref).cgroup_path + "/cgroup.procs"
    with open(path, encoding="ascii") as file:
        return len(file.read().split())


def test_health_goes_up_and_down_and_is_told(wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    """In ps, inspect, filters and events; each change once."""
    flag = tmp_path / "flag"

    def set_flag(code: int) -> None:
        """In one step: a probe that finds it empty ends well."""
        (tmp_path / "new").write_text(str(code))
        (tmp_path / "new").rename(flag)

    set_flag(1)
    volume = Volume(source=str(tmp_path), target="/told")
    check = shell("echo said; exit $(cat /told/flag)", retries=2)
    with wherryd.client() as client:
        place = client.last_event()
        made = client.run_detached(spec(busybox, check, volumes=(volume,), name="swings"))
        assert client.inspect(made.id).summary.health == "starting"
        with client.events(after=place, filters=[("event", "health_status")]) as events:
            for code, status in ((1, "unhealthy"), (0, "healthy"), (1, "unhealthy"), (0, "healthy")):
                set_flag(code)
                event = next(iter(events))
                assert isinstance(event, Event)
                assert event.action == f"health_status: {status}"
                assert [row.id for row in client.list(filters=[("health", status)])] == [made.id]
                assert logged(client, made.id)[-1] == (code, "said\n")
        assert len(logged(client, made.id)) == 5
        with client.events(after=place, until=time.time(), filters=[("event", "exec_create")]) as execs:
            assert list(execs) == [], "probes drive what happened out of the kept window"
        row = wherryd.cli("ps", "--filter", "name=swings", "--format", "{{.Status}}")
        assert row.stdout.strip().endswith("(healthy)")
        document = json.loads(wherryd.cli("inspect", "swings").stdout)[0]
        assert document["State"]["Health"]["Status"] == "healthy"
        assert document["State"]["Health"]["Log"][0]["Output"] == "said\n"
        assert document["Config"]["Healthcheck"]["Test"] == ["CMD-SHELL", check.test[1]]
        assert document["Config"]["Healthcheck"]["Interval"] == 20_000_000


def test_a_probe_is_beside_the_first_process_and_like_it(wherryd: Daemon, busybox: Path) -> None:
    """Its user, directory, variables and namespaces; with nothing to read."""
    line = "id -u; pwd; echo $GREETING; hostname; cat; tr '\\0' ' ' </proc/1/cmdline; echo on stderr >&2"
    more = {"user": "1000", "workdir": "/tmp", "env": {"GREETING": "hi"}, "hostname": "there"}
    with wherryd.client() as client:
        made = client.run_detached(spec(busybox, shell(line), **more))
        assert client.wait_healthy(made.id)
        assert logged(client, made.id)[0] == (0, "1000\n/tmp\nhi\nthere\nsleep 1000 on stderr\n")


def test_a_probe_over_its_time_is_killed_with_all_that_it_started(wherryd: Daemon, busybox: Path) -> None:
    check = shell("echo begun; sleep 1000 & sleep 1000", timeout=0.2, retries=1, start_period=3600)
    check = check.replace(start_interval=FAST)
    with wherryd.client() as client:
        made = client.run_detached(spec(busybox, check))
        assert wait_for(lambda: len(logged(client, made.id)) >= 2)
        # Not each: somebody else may have the processor until its time is over.
        told = (-1, "Health check exceeded timeout (0.2s): begun\n")
        assert wait_for(lambda: told in logged(client, made.id)), logged(client, made.id)
        client.pause(made.id)
        client.unpause(made.id)
        assert wait_for(lambda: processes(wherryd, made.id) <= 3), "children of dead probes live on"


def test_output_is_cut_and_a_flood_of_it_harms_nobody(wherryd: Daemon, busybox: Path) -> None:
    """A probe that prints without end is stopped by its time, and keeps nobody else from being answered."""
    with wherryd.client() as client:
        much = client.run_detached(spec(busybox, shell("yes | head -c 100000")))
        assert client.wait_healthy(much.id)
        assert logged(client, much.id)[0] == (0, "y\n" * 2048)
        endless = client.run_detached(spec(busybox, shell("yes", timeout=1, retries=1)))
        assert not client.wait_healthy(endless.id)
        code, output = logged(client, endless.id)[0]
        assert (code, output[-4:]) == (-1, "y\ny\n")
        odd = client.run_detached(spec(busybox, shell(r"printf 'a\377b'")))
        assert client.wait_healthy(odd.id)
        assert logged(client, odd.id)[0] == (0, "a\ufffdb")


@pytest.mark.parametrize(
    ("test", "text"),
    [
        (("CMD", "nothing-like-that"), "command 'nothing-like-that' not found in $PATH"),
        (("CMD", "/etc/passwd"), "command '/etc/passwd' cannot be executed: Permission denied"),
        (("CMD-SHELL", "kill -9 $$"), ""),
        (("CMD-SHELL", "exit 300"), ""),
    ],
)
def test_what_cannot_be_asked_is_unhealthy(
    wherryd: Daemon, busybox: Path, test: tuple[str, ...], text: str
) -> None:
    with wherryd.client() as client:
        made = client.run_detached(spec(busybox, HealthCheck(test=test, interval=FAST, retries=1)))
        assert not client.wait_healthy(made.id)
        code, output = logged(client, made.id)[0]
        assert output.startswith(text)
        assert code == (-1 if text else 137 if "kill" in test[1] else 44)


def test_nothing_is_asked_of_a_paused_container(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        made = client.run_detached(spec(busybox, shell("true")))
        assert client.wait_healthy(made.id)
        client.pause(made.id)
        assert wherryd.cli("ps", "--format", "{{.Status}}").stdout.strip().endswith("(Paused)")
        before = client.inspect(made.id).health
        time.sleep(FAST * 10)
        assert client.inspect(made.id).health == before
        client.unpause(made.id)
        assert wait_for(lambda: client.inspect(made.id).health != before)
        assert {code for code, _ in logged(client, made.id)} == {0}


def test_nothing_is_asked_while_its_files_are_read(wherryd: Daemon, busybox: Path) -> None:
    """An export whose reader takes its time keeps the container frozen: no probe fails for that."""
    with wherryd.client() as client:
        made = client.run_detached(spec(busybox, shell("true", timeout=within(0.7), retries=1)))
        assert client.wait_healthy(made.id)
        place = client.last_event()
        frozen = Path(client.inspect(made.id).cgroup_path) / "cgroup.freeze"
        with wherryd.popen("export", made.id) as export:
            assert wait_for(lambda: frozen.read_text(encoding="ascii") == "1\n")
            time.sleep(within(0.8))
            export.communicate(timeout=PATIENCE)
        assert export.returncode == 0
        before = client.inspect(made.id).health
        assert wait_for(lambda: client.inspect(made.id).health != before)
        with client.events(after=place, until=time.time(), filters=[("event", "health_status")]) as events:
            assert list(events) == []


def test_the_end_waits_for_no_probe(wherryd: Daemon, busybox: Path) -> None:
    """Of a container that ends by itself in the middle of one, is stopped, or is removed."""
    check = shell("sleep 1000", timeout=1000)
    with wherryd.client() as client:
        for end in ("itself", "stop", "rm"):
            run = spec(busybox, check, auto_remove=end == "itself", stdin=True)
            made = client.run_detached(run.replace(command=("cat",)) if end == "itself" else run)
            assert wait_for(lambda ref=made.id: processes(wherryd, ref) > 1)
            started = time.monotonic()
            if end == "rm":
                client.remove(made.id, force=True)
            elif end == "stop":
                assert client.stop(made.id, 0).exit_code == 137
            else:
                with asked(wherryd, Wait(ref=made.id)) as waits:
                    client.close_stdin(made.id)
                    assert waits.answer().code == 0
            assert time.monotonic() - started < PATIENCE
        assert [row.health for row in client.list(all=True)] == ["unhealthy"]


def test_a_killed_supervisor_goes_on_asking(fresh_wherryd: Daemon, busybox: Path, tmp_path: Path) -> None:
    """The status and the probes are remembered; the one that was under way is ended, nothing of it stays."""
    daemon = fresh_wherryd
    check = shell("echo x >>/told/asked; test ! -e /told/slow || sleep 1000", timeout=1000)
    volume = Volume(source=str(tmp_path), target="/told")
    with daemon.client() as client:
        made = client.run_detached(spec(busybox, check, volumes=(volume,)))
        with client.events(after=0, filters=[("event", "health_status")]) as events:
            next(iter(events))  # it is written down by now
        (tmp_path / "slow").touch()
        assert wait_for(lambda: processes(daemon, made.id) > 1)
    daemon.kill()
    (tmp_path / "slow").unlink()
    asked = (tmp_path / "asked").stat().st_size
    daemon.start()
    with daemon.client() as client:
        assert client.inspect(made.id).summary.health == "healthy"
        assert logged(client, made.id)
        assert wait_for(lambda: (tmp_path / "asked").stat().st_size > asked + 10)
        with client.events(after=0, until=time.time(), filters=[("event", "health_status")]) as events:
            assert len(list(events)) == 1
        client.pause(made.id)
        assert wait_for(lambda: processes(daemon, made.id) <= 2)


def test_the_images_healthcheck_counts_and_options_win(
    wherryd: Daemon, busybox_tar: Archives, tmp_path: Path
) -> None:
    """The interval of one, the command of the other; and none at all when asked for none."""
    config = {
        "Cmd": ["sleep", "1000"],
        "Healthcheck": {"Test": ["CMD-SHELL", "echo image; exit 1"], "Interval": 20_000_000, "Retries": 1},
    }
    image = imagekit.Built([busybox_tar.tar.read_bytes()], config)
    archive = tmp_path / "image.tar"
    archive.write_bytes(imagekit.pack(imagekit.docker_save(image)))
    run = RunSpec(image=str(archive))
    with wherryd.client() as client:
        theirs = client.run_detached(run)
        assert not client.wait_healthy(theirs.id)
        assert logged(client, theirs.id)[0] == (1, "image\n")
        ours = client.run_detached(run.replace(health=HealthCheck(test=("CMD-SHELL", "echo ours"))))
        assert client.wait_healthy(ours.id)
        check = client.inspect(ours.id).health_check
        assert check is not None
        assert (check.interval, check.retries, check.timeout) == (0.02, 1, 30)
        none = wherryd.cli("run", "-d", "--no-healthcheck", archive).stdout.strip()
        assert client.inspect(none).health is None
        with pytest.raises(Conflict, match="has no healthcheck"):
            client.wait_healthy(none)


def test_wait_for_healthy_is_a_condition_for_scripts(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        for name, line in (("good", "true"), ("bad", "false")):
            client.run_detached(spec(busybox, shell(line, retries=1), name=name))
        client.run_detached(spec(busybox, None, name="plain"))
        client.create(spec(busybox, shell("true"), name="idle"))
    good = wherryd.cli("wait", "--condition", "healthy", "good")
    assert (good.exit_code, good.stdout) == (0, "healthy\n")
    bad = wherryd.cli("wait", "--condition", "healthy", "bad")
    assert (bad.exit_code, bad.stdout) == (1, "unhealthy\n")
    both = wherryd.cli("wait", "--condition", "healthy", "good", "bad")
    assert (both.exit_code, both.stdout) == (1, "healthy\nunhealthy\n")
    plain = wherryd.cli("wait", "--condition", "healthy", "plain")
    assert (plain.exit_code, plain.stderr) == (125, "wherry: container plain has no healthcheck\n")
    idle = wherryd.cli("wait", "--condition", "healthy", "idle")
    assert (idle.exit_code, idle.stderr) == (125, "wherry: container idle is not running\n")


def test_whoever_waits_hears_of_the_end(wherryd: Daemon, busybox: Path) -> None:
    """A client that waits for a verdict which never comes is not left waiting."""
    run = spec(busybox, shell("true", interval=1000), stdin=True).replace(command=("cat",), name="brief")
    with wherryd.client() as client:
        made = client.run_detached(run)
        with asked(wherryd, WaitHealthy(ref=made.id)) as waits:
            client.close_stdin(made.id)
            with pytest.raises(Conflict, match="container brief ended before its health was known"):
                waits.answer()


def test_bad_checks_are_refused_before_anything_is_made(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        for health in (HealthCheck(test=("WHAT", "x")), HealthCheck(interval=3), shell("true", timeout=1e-6)):
            with pytest.raises(BadRequest, match="health"):
                client.run_detached(spec(busybox, health))
        assert client.list(all=True) == ()
    refused = wherryd.cli("run", "--health-interval", "5s", busybox, "true")
    assert (refused.exit_code, refused.stdout) == (125, "")
    assert "has no healthcheck to be changed (give a command with --health-cmd)" in refused.stderr


def test_probes_and_ends_at_the_same_time(wherryd: Daemon, busybox: Path) -> None:
    """Fifty containers, probed without pause, that end, are stopped, paused and removed: nothing stays."""
    counter = itertools.count()
    failures: list[BaseException] = []

    def churn() -> None:
        with wherryd.client() as client:
            while (number := next(counter)) < 50:
                check = shell("true", interval=0.001)
                made = client.run_detached(spec(busybox, check).replace(command=("sleep", "0.1")))
                if number % 4 == 1:
                    client.stop(made.id, 0)
                elif number % 4 == 2:
                    client.remove(made.id, force=True)
                    continue
                assert client.wait(made.id).exit_code in (0, 137)
                client.remove(made.id)

    def guarded() -> None:
        try:
            churn()
        except BaseException as error:  # noqa: BLE001 - told by the test
            failures.append(error)

    threads = [threading.Thread(target=guarded) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert "Traceback" not in wherryd.log
