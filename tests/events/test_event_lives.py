"""What a container's life looks like in the events of a real supervisor."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import pytest
from support.waiting import PATIENCE

from wherry import AsyncClient, Conflict, Event, Missed, RunSpec
from wherry.errors import CommandNotFound
from wherry_protocol.processes import Attach

if TYPE_CHECKING:
    from pathlib import Path

    from support.busybox import Archives
    from support.daemon import Daemon

    from wherry import Client


def spec(image: Path, script: str, **more: object) -> RunSpec:
    return RunSpec(image=str(image), command=("sh", "-c", script), **more)  # type: ignore[arg-type]  # its fields


def told(client: Client, place: int, *filters: tuple[str, str]) -> list[Event]:
    """Return the events after a number, up to now."""
    with client.events(after=place, until=time.time(), filters=filters) as events:
        found = list(events)
    assert not [each for each in found if isinstance(each, Missed)]
    return [each for each in found if isinstance(each, Event)]


def await_output(client: Client, ref: str, wanted: bytes) -> None:
    """Wait until a container has printed that: what it does before is done then."""
    seen = b""
    with client.log_stream(ref, follow=True) as outputs:
        for output in outputs:
            seen += output.data
            if seen.endswith(wanted):
                return
    raise AssertionError(f"{ref} never printed {wanted!r}, only {seen!r}")


def actions(events: list[Event]) -> list[str]:
    return [event.action for event in events]


def test_a_run_from_create_to_destroy(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        place = client.last_event()
        result = client.run(spec(busybox, "exit 3", auto_remove=True, name="brief", labels={"tier": "a"}))
        events = told(client, place, ("container", "brief"))
        assert actions(events) == ["create", "attach", "start", "die", "destroy"]
        assert {event.actor for event in events} == {result.id}
        assert [event.seq for event in events] == list(range(place + 1, place + 6))
        basics = {"name": "brief", "image": str(busybox), "tier": "a"}
        assert events[0].attributes == basics
        duration = events[3].attributes["execDuration"]
        assert events[3].attributes == {**basics, "exitCode": "3", "execDuration": duration}
        assert int(duration) < PATIENCE, "seconds"


def test_every_change_has_its_event(wherryd: Daemon, busybox: Path) -> None:
    """In docker's words and docker's order; what was asked for and failed has none."""
    with wherryd.client() as client:
        place = client.last_event()
        made = client.run_detached(
            spec(busybox, "trap 'exit 7' TERM; echo trapped; while :; do read -t 9 x; done", stdin=True)
        )
        await_output(client, made.id, b"trapped\n")
        client.pause(made.id)
        with pytest.raises(Conflict):
            client.pause(made.id)
        client.unpause(made.id)
        client.rename(made.id, "other")
        with pytest.raises(Conflict):
            client.rename(made.id, "other")
        client.kill(made.id, "WINCH")
        client.restart(made.id)
        client.kill(made.id, "KILL")
        client.wait(made.id)
        client.start(made.id)
        client.remove(made.id, force=True)
        events = told(client, place, ("container", made.id))
        assert actions(events) == [
            "create", "start", "pause", "unpause", "rename", "kill", "kill", "die", "stop", "start",
            "restart", "kill", "die", "start", "kill", "die", "destroy",
        ]  # fmt: skip
        rename, winch, term, stopped = events[4:8]
        assert (rename.attributes["oldName"], rename.attributes["name"]) == (made.name, "other")
        assert (winch.attributes["signal"], term.attributes["signal"]) == ("28", "15")
        assert (stopped.attributes["exitCode"], stopped.attributes.get("signal")) == ("7", None)
        killed = events[12]
        assert (killed.attributes["exitCode"], killed.attributes["signal"]) == ("137", "9")


def test_a_start_that_fails_is_created_and_destroyed(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        place = client.last_event()
        with pytest.raises(CommandNotFound):
            client.run(RunSpec(image=str(busybox), command=("nothing-like-that",)))
        assert actions(told(client, place)) == ["create", "destroy"]


def test_a_client_that_leaves_detaches(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        place = client.last_event()
        with client.run_stream(spec(busybox, "echo up; sleep 1000", name="left")) as stream:
            next(iter(stream))
        with client.events(after=place, filters=[("event", "detach")]) as events:
            found = next(iter(events))
        assert isinstance(found, Event)
        assert found.attributes["name"] == "left"


def test_images_have_events(wherryd: Daemon, busybox_tar: Archives) -> None:
    with wherryd.client() as client:
        place = client.last_event()
        image = client.import_image(busybox_tar.tar, "told")
        client.tag_image("told", "again")
        client.remove_image("told")
        client.remove_image("again")
        events = told(client, place, ("type", "image"))
        assert actions(events) == ["import", "tag", "untag", "untag", "delete"]
        assert {event.actor for event in events} == {image.digest}
        names = [event.attributes["name"] for event in events]
        assert [name.partition(":")[0] for name in names[:4]] == ["told", "again", "told", "again"]


def test_what_is_made_of_a_container_has_events(
    wherryd: Daemon, busybox_tar: Archives, tmp_path: Path
) -> None:
    """commit and export of the container, save and prune of the images."""
    with wherryd.client() as client:
        place = client.last_event()
        made = client.create(RunSpec(image=str(busybox_tar.tar), command=("true",)))
        for args in (
            ("commit", made.id, "made:1"), ("export", "-o", tmp_path / "all.tar", made.id),
            ("save", "-o", tmp_path / "image.tar", "made:1"),
        ):  # fmt: skip
            done = wherryd.cli(*args)
            assert done.exit_code == 0, done.stderr
        client.remove(made.id)
        image = wherryd.cli("images", "--format", "json").stdout
        assert "made" in image
        wherryd.cli("image", "prune", "-a", "-f")
        events = told(client, place)
        assert [event.action for event in events if event.type == "container"] == [
            "create", "commit", "export", "destroy",
        ]  # fmt: skip
        committed = next(event for event in events if event.action == "commit")
        ours = [event.action for event in events if event.actor == committed.attributes["imageID"]]
        assert ours == ["save", "untag", "delete"]


def test_attaching_and_executing_have_events(wherryd: Daemon, busybox: Path) -> None:
    with wherryd.client() as client:
        made = client.run_detached(spec(busybox, "sleep 1000"))
        place = client.last_event()
        assert client.exec(made.id, ("sh", "-c", "exit 5")).exit_code == 5
        with client.events(after=place, filters=[("container", made.id)]) as events:
            create, start, die = (next(iter(events)) for _ in range(3))
        assert isinstance(create, Event)
        assert isinstance(start, Event)
        assert isinstance(die, Event)
        assert create.action == "exec_create: sh -c exit 5"
        assert start.action == "exec_start: sh -c exit 5"
        assert (die.action, die.attributes["exitCode"]) == ("exec_die", "5")
        assert len({each.attributes["execID"] for each in (create, start, die)}) == 1
        place = client.last_event()
        with client.stream(Attach(ref=made.id)) as stream:
            next(iter(stream))
            stream.close()
        with client.events(after=place, filters=[("event", "attach"), ("event", "detach")]) as events:
            assert [next(iter(events)).action for _ in range(2)] == ["attach", "detach"]


def test_a_supervisor_tells_of_its_own_start_and_end(fresh_wherryd: Daemon) -> None:
    with fresh_wherryd.client() as client:
        pid = client.ping().pid
    fresh_wherryd.terminate()
    fresh_wherryd.start()
    with fresh_wherryd.client() as client:
        events = told(client, 0, ("type", "daemon"))
        assert actions(events) == ["start", "stop", "start"]
        assert [event.seq for event in events] == [1, 2, 3]
        assert events[0].attributes["pid"] == events[1].attributes["pid"] == str(pid)


async def test_many_readers_see_the_same_as_it_happens(wherryd: Daemon, busybox: Path) -> None:
    """Each from its own place on, within a moment, and the async client as the plain one."""
    async with AsyncClient(wherryd.run_dir, autostart=False) as client:
        place = await client.last_event()
        async with client.events(after=place) as one, client.events(after=place) as two:
            await client.run(spec(busybox, "true", auto_remove=True))
            seen = [await anext(one) for _ in range(5)]
            assert [await anext(two) for _ in range(5)] == seen
        assert [event.action for event in seen if isinstance(event, Event)] == [
            "create", "attach", "start", "die", "destroy",
        ]  # fmt: skip


def test_readers_that_never_read_slow_nobody_down(wherryd: Daemon, busybox: Path) -> None:
    """Twenty of them, each with a full socket; runs go on, and leaving them frees everything (leak guard)."""
    labels = {f"label-{number}": "x" * 1000 for number in range(60)}
    with wherryd.client() as client:
        place = client.last_event()
        streams = [client.events(after=place) for _ in range(20)]
        try:
            for _ in range(25):
                client.run(spec(busybox, "true", auto_remove=True, labels=labels)).check()
            started = time.monotonic()
            client.run(spec(busybox, "true", auto_remove=True)).check()
            assert time.monotonic() - started < PATIENCE
            assert len(told(client, place)) == 26 * 5
        finally:
            for stream in streams:
                stream.close()
