"""volume create, ls, inspect, rm, and volumes in run: made, filled, shared, kept or taken away."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
import subprocess
import tarfile
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from clikit import inspect, ok, refused, wait_for
from support.imagekit import Built, folder, layer, member, oci, pack

from wherry import Conflict, NotFound, RunSpec, Volume

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from support.daemon import Daemon

ANONYMOUS = re.compile(r"[0-9a-f]{64}")


@pytest.fixture
def store(wherryd: Daemon) -> Iterator[Daemon]:
    """A supervisor without volumes, before and after."""
    assert names(wherryd) == []
    yield wherryd
    wherryd.remove_containers()
    with wherryd.client() as client:
        for volume in client.volumes():
            client.remove_volume(volume.name)


@pytest.fixture
def image(busybox: Path, tmp_path: Path) -> Path:
    """A copy of the image with a directory of everything that a directory can hold."""
    where = tmp_path / "image"
    shutil.copytree(busybox, where, symlinks=True)
    data = where / "data"
    (data / "deep/er").mkdir(parents=True)
    (data / "file").write_text("from the image\n")
    os.link(data / "file", data / "deep/hardlink")
    (data / "setuid").write_text("x")
    (data / "link").symlink_to("/etc/passwd")
    (data / "dangling").symlink_to("nowhere")
    os.mkfifo(data / "fifo", 0o640)
    with (data / "sparse").open("wb") as file:
        file.write(b"head")
        file.truncate(50 << 20)
    os.setxattr(data / "file", "user.note", b"kept")
    os.mknod(data / "device", 0o600 | 0o020000, os.makedev(1, 5))
    for path, uid, mode in ((data / "setuid", 7, 0o4755), (data / "deep", 8, 0o1777), (data, 9, 0o2750)):
        os.chown(path, uid, uid + 1)
        path.chmod(mode)
    os.utime(data / "file", ns=(10**18, 10**18 + 123456789))
    return where


def names(daemon: Daemon, *args: str) -> list[str]:
    return ok(daemon, "volume", "ls", "-q", *args).split()


def on_host(daemon: Daemon, name: str) -> Path:
    return daemon.state_dir / "volumes" / name / "_data"


def look(tree: Path) -> dict[str, Any]:
    """What a copy must keep: kinds, owners, modes, times, links, attributes, contents."""
    found: dict[str, Any] = {}
    for path in (tree, *sorted(tree.rglob("*"))):
        seen = path.lstat()
        attributes = {
            name: os.getxattr(path, name, follow_symlinks=False)
            for name in os.listxattr(path, follow_symlinks=False)
        }
        content = os.readlink(path) if path.is_symlink() else path.read_bytes() if path.is_file() else None
        times = seen.st_mtime_ns
        found[str(path.relative_to(tree))] = (
            seen.st_mode, seen.st_uid, seen.st_gid, times, seen.st_nlink, attributes, content,
        )  # fmt: skip
    return found


def test_a_volume_is_made_listed_shown_and_removed(store: Daemon) -> None:
    assert ok(store, "volume", "create", "--label", "tier=db", "data") == "data\n"
    assert ok(store, "volume", "create", "data") == "data\n", "one that exists is fine, as with docker"
    assert names(store) == ["data"]
    assert ok(store, "volume", "ls").splitlines() == ["DRIVER   VOLUME NAME", "local    data"]
    (document,) = json.loads(ok(store, "volume", "inspect", "data"))
    assert document["Labels"] == {"tier": "db"}
    assert document["Mountpoint"] == str(on_host(store, "data"))
    assert ok(store, "volume", "inspect", "-f", "{{.Name}} {{.Driver}}", "data") == "data local\n"
    (row,) = map(json.loads, ok(store, "volume", "ls", "--format", "json").splitlines())
    assert (row["Name"], row["Labels"], row["Scope"]) == ("data", "tier=db", "local")
    assert ok(store, "volume", "rm", "data") == "data\n"
    assert "no volume data" in refused(store, "volume", "rm", "data")
    assert ok(store, "volume", "rm", "-f", "data") == "data\n"
    assert names(store) == []
    assert ANONYMOUS.fullmatch(ok(store, "volume", "create").strip())


def test_bad_words_are_one_line_and_make_nothing(store: Daemon) -> None:
    for name in ("-x", "a/b", "..", "a" * 129, "ä", "a\nb"):
        with store.client() as client, pytest.raises(Exception, match="not allowed"):
            client.create_volume(name)
    refused(store, "volume", "create", "--label", "=x", "data")
    refused(store, "volume", "inspect", "nothing", "--bogus")
    assert "no such command" in refused(store, "volume", "frob")
    assert "a command is missing" in refused(store, "volume")
    assert "unknown" in refused(store, "volume", "ls", "-f", "colour=red")
    assert "neither true nor false" in refused(store, "volume", "ls", "-f", "dangling=perhaps")
    assert names(store) == []


def test_filters_of_the_list(store: Daemon, busybox: Path) -> None:
    ok(store, "volume", "create", "--label", "tier=db", "one")
    ok(store, "volume", "create", "two")
    ok(store, "create", "-v", "two:/v", busybox, "true")
    assert names(store, "-f", "name=tw") == ["two"]
    assert names(store, "-f", "label=tier") == ["one"]
    assert names(store, "-f", "label=tier=web") == []
    assert names(store, "-f", "dangling=true") == ["one"]
    assert names(store, "-f", "dangling=false") == ["two"]
    assert names(store, "-f", "name=one", "-f", "name=two") == ["one", "two"]


def test_run_makes_a_volume_which_outlives_the_container(store: Daemon, busybox: Path) -> None:
    ok(store, "run", "--rm", "-v", "data:/data", busybox, "sh", "-c", "echo kept > /data/file")
    assert names(store) == ["data"]
    assert ok(store, "run", "--rm", "-v", "data:/other:ro", busybox, "cat", "/other/file") == "kept\n"
    done = store.cli("run", "--rm", "-v", "data:/data:ro", busybox, "touch", "/data/x")
    assert "Read-only file system" in done.stderr


def test_an_empty_volume_is_filled_from_the_image(store: Daemon, image: Path) -> None:
    """Owners, modes, times, links, holes and attributes; links of the image stay links, devices stay out."""
    before = look(image / "data")
    ok(store, "run", "--rm", "-v", "data:/data", image, "true")
    after = look(on_host(store, "data"))
    del before["device"]
    assert after == before
    assert (on_host(store, "data") / "sparse").stat().st_blocks < 100, "holes were filled with zeros"
    ok(store, "run", "--rm", "-v", "data:/data", image, "rm", "/data/file")
    ok(store, "run", "--rm", "-v", "data:/data", image, "true")
    assert not (on_host(store, "data") / "file").exists(), "a volume that has something was filled again"


def test_nocopy_leaves_a_volume_empty(store: Daemon, image: Path) -> None:
    assert ok(store, "run", "--rm", "-v", "data:/data:nocopy", image, "ls", "/data") == ""
    mount = "type=volume,source=more,target=/data,volume-nocopy"
    assert ok(store, "run", "--rm", "--mount", mount, image, "ls", "/data") == ""


def test_a_volume_is_filled_through_the_images_own_links_only(
    store: Daemon, image: Path, tmp_path: Path
) -> None:
    """A directory that is a link out of the image is nobody's: it leads inside, or to nothing."""
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("the host's\n")
    (image / "out").symlink_to(secret)
    (image / "up").symlink_to("../" * 30 + str(secret).lstrip("/"))
    (image / "alias").symlink_to("data")
    for place in ("out", "up"):
        assert ok(store, "run", "--rm", "-v", f"{place}:/{place}", image, "ls", f"/{place}") == ""
    assert "file" in ok(store, "run", "--rm", "-v", "alias:/alias", image, "ls", "/alias").split()


def test_the_host_image_fills_a_volume_too(store: Daemon) -> None:
    """Its directories are binds on top of its layer."""
    small = next(path for path in sorted(Path("/usr/share").iterdir()) if 0 < len(list(path.rglob("*"))) < 20)
    seen = ok(store, "run", "--rm", "-v", f"share:{small}", "host", "ls", "-A", small).splitlines()
    assert sorted(seen) == sorted(os.listdir(small))
    seen = ok(store, "run", "--rm", "-v", "etc:/etc", "host", "ls", "/etc").split()
    assert "passwd" in seen


def test_a_volume_made_for_a_run_that_fails_is_gone(store: Daemon, image: Path) -> None:
    assert "not found" in refused(store, "run", "-v", "data:/data", "-v", "/x", image, "nonsense", code=127)
    assert names(store) == []
    ok(store, "volume", "create", "data")
    refused(store, "run", "-v", "data:/data", image, "nonsense", code=127)
    assert names(store) == ["data"], "one that was there before stays"


def test_a_volume_in_use_cannot_be_removed(store: Daemon, busybox: Path) -> None:
    ok(store, "create", "--name", "keeper", "-v", "data:/data", busybox, "true")
    assert ok(store, "ps", "-a", "-f", "volume=data", "--format", "{{.Names}} {{.Mounts}}") == "keeper data\n"
    assert ok(store, "ps", "-aq", "-f", "volume=other") == ""
    assert "volume data is used by container keeper" in refused(store, "volume", "rm", "data")
    assert "used by" in refused(store, "volume", "rm", "-f", "data")
    ok(store, "start", "-a", "keeper")
    assert "used by" in refused(store, "volume", "rm", "data")
    ok(store, "rm", "-v", "keeper")
    assert names(store) == ["data"], "rm -v takes only what has no name"
    ok(store, "volume", "rm", "data")


def test_anonymous_volumes_go_with_rm_v_and_with_run_rm(store: Daemon, busybox: Path) -> None:
    ok(store, "run", "--name", "one", "-v", "/data", busybox, "touch", "/data/x")
    (name,) = names(store)
    assert ANONYMOUS.fullmatch(name)
    (mount,) = inspect(store, "one")["Mounts"]
    assert (mount["Type"], mount["Name"], mount["Destination"]) == ("volume", name, "/data")
    ok(store, "rm", "one")
    assert names(store) == [name]
    ok(store, "volume", "rm", name)
    ok(store, "run", "--name", "two", "-v", "/data", busybox, "true")
    ok(store, "rm", "-v", "two")
    assert names(store) == []
    ok(store, "run", "--rm", "-v", "/data", busybox, "true")
    assert names(store) == []
    assert wait_for(lambda: not os.listdir(store.state_dir / "volumes"))


def test_volumes_from_another_container(store: Daemon, busybox: Path, tmp_path: Path) -> None:
    """Its paths and volumes, with its own word on read-only; what is asked for here wins."""
    (tmp_path / "file").write_text("host\n")
    ok(
        store, "create", "--name", "donor", "-v", f"{tmp_path}:/host:ro", "-v", "data:/data", "-v", "/anon",
        busybox, "true",
    )  # fmt: skip
    script = "cat /host/file; touch /host/x || touch /data/x && touch /anon/x && echo done"
    done = store.cli("run", "--name", "taker", "--volumes-from", "donor", busybox, "sh", "-c", script)
    assert done.stdout == "host\ndone\n"
    given, taken = inspect(store, "donor")["Mounts"], inspect(store, "taker")["Mounts"]
    assert sorted(map(str, given)) == sorted(map(str, taken))
    ok(store, "rm", "-v", "taker")
    assert len(names(store)) == 2, "the donor has them still"
    done = store.cli("run", "--rm", "--volumes-from", "donor:ro", busybox, "touch", "/data/y")
    assert "Read-only" in done.stderr
    own = ok(store, "run", "--rm", "--volumes-from", "donor", "-v", "/data", busybox, "ls", "/data")
    assert own == ""
    assert "no container nobody" in refused(store, "run", "--volumes-from", "nobody", busybox, "true")
    assert "expected CONTAINER" in refused(store, "run", "--volumes-from", "donor:x", busybox, "true")
    ok(store, "rm", "-v", "donor")
    assert names(store) == ["data"]


def test_inspect_tells_mounts_in_dockers_words(store: Daemon, busybox: Path, tmp_path: Path) -> None:
    ok(
        store, "create", "--name", "web", "-v", f"{tmp_path}:/host:ro", "-v", "data:/data", "--tmpfs", "/t",
        busybox, "true",
    )  # fmt: skip
    document = inspect(store, "web")
    assert document["Mounts"] == [
        {
            "Type": "bind", "Source": str(tmp_path), "Destination": "/host", "Mode": "ro", "RW": False,
            "Propagation": "rprivate",
        },
        {
            "Type": "volume", "Name": "data", "Driver": "local", "Source": str(on_host(store, "data")),
            "Destination": "/data", "Mode": "", "RW": True, "Propagation": "",
        },
        {"Type": "tmpfs", "Source": "", "Destination": "/t", "Mode": "", "RW": True, "Propagation": ""},
    ]  # fmt: skip
    assert document["HostConfig"]["Binds"] == [f"{tmp_path}:/host:ro", "data:/data:rw"]


def test_mounts_in_mounts_are_made_outer_ones_first(store: Daemon, busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "below").mkdir()
    seen = ok(
        store, "run", "--rm", "-v", "inner:/outer/below", "-v", f"{tmp_path}:/outer", "--tmpfs",
        "/outer/below/deep", busybox, "sh", "-c", "grep -c ' /outer' /proc/mounts; ls /outer",
    )  # fmt: skip
    assert seen == "3\nbelow\n"


def test_a_dry_run_makes_no_volume(store: Daemon, busybox: Path) -> None:
    plan = ok(store, "run", "--dry-run", "-v", "data:/data", "-v", "/anon", busybox, "true")
    assert f"mount bind {on_host(store, 'data')} on /data" in plan
    assert names(store) == []


# -- images -------------------------------------------------------------------------------------------------


@pytest.fixture
def layered(store: Daemon, busybox: Path, tmp_path: Path) -> Iterator[Callable[..., str]]:
    """Load an image of several layers on busybox, with a config; return its name."""
    base = io.BytesIO()
    with tarfile.open(fileobj=base, mode="w") as tar:
        tar.add(busybox, arcname=".")

    def load(*layers: bytes, **config: Any) -> str:
        archive = tmp_path / "layered.tar"
        archive.write_bytes(pack(oci(Built([base.getvalue(), *layers], config))))
        ok(store, "load", "-i", archive)
        return "demo:1"

    yield load
    store.remove_containers()
    with store.client() as client:
        client.prune_images(all=True)


def test_the_volumes_of_an_images_config_are_made_without_a_name(
    store: Daemon, layered: Callable[..., str], tmp_path: Path
) -> None:
    """The image's directory fills them; what is asked for at the same place wins."""
    image = layered(
        layer(
            folder("srv"), folder("srv/data", uid=5, gid=6, mode=0o700), member("srv/data/seed", b"seed\n")
        ),
        Volumes={"/srv/data": {}, "/srv/other": {}},
    )
    ok(store, "run", "--name", "one", image, "sh", "-c", "cat /srv/data/seed; echo more > /srv/data/more")
    mounts = {mount["Destination"]: mount for mount in inspect(store, "one")["Mounts"]}
    assert sorted(mounts) == ["/srv/data", "/srv/other"]
    data = on_host(store, mounts["/srv/data"]["Name"])
    assert sorted(os.listdir(data)) == ["more", "seed"]
    assert (data.stat().st_uid, data.stat().st_gid, data.stat().st_mode & 0o7777) == (5, 6, 0o700)
    assert ok(store, "start", "-a", "one") == "seed\n", "another run has the same volume"
    ok(store, "rm", "-v", "one")
    assert names(store) == []
    ok(
        store, "create", "--name", "two", "-v", f"{tmp_path}:/srv/data", "--tmpfs", "/srv/other",
        image, "true",
    )  # fmt: skip
    assert names(store) == []
    ok(store, "run", "--rm", image, "true")
    assert names(store) == [], "run --rm left the image's volumes"


def test_a_volume_is_filled_from_what_the_layers_come_to(store: Daemon, layered: Callable[..., str]) -> None:
    """What an upper layer deleted or hid is not in it, whether it is one layer or two hundred."""
    image = layered(
        layer(folder("data"), member("data/gone", b"x"), member("data/kept", b"below")),
        layer(folder("data"), member("data/.wh.gone"), member("data/added", b"x"), folder("data/d")),
        layer(folder("data/d"), member("data/d/.wh..wh..opq"), member("data/kept", b"above")),
        *(layer(folder("data"), member(f"data/{number}", b"x")) for number in range(200)),
    )
    ok(store, "volume", "create", "data")
    # Starting one of so many layers is the launcher's affair; the volume is filled before that.
    ok(store, "create", "-v", "data:/data", image, "true")
    found = set(os.listdir(on_host(store, "data")))
    assert found == {"kept", "added", "d", *map(str, range(200))}
    assert (on_host(store, "data") / "kept").read_text() == "above"


@pytest.mark.parametrize("target", ["/proc/x", "/", "/a/../b", "/dev/shm"])
def test_an_image_whose_volume_cannot_be_is_refused(
    store: Daemon, layered: Callable[..., str], target: str
) -> None:
    image = layered(Volumes={target: {}})
    assert "volume" in refused(store, "run", "--rm", image, "true")
    assert names(store) == []


# -- the long form ------------------------------------------------------------------------------------------


def test_the_long_form_of_mounts(store: Daemon, busybox: Path, tmp_path: Path) -> None:
    (tmp_path / "a,b").mkdir()
    options = [
        f'type=bind,"source={tmp_path}/a,b",target=/b,readonly',
        "source=data,dst=/v,volume-label=tier=db,volume-label=x",
        "type=tmpfs,destination=/t,tmpfs-size=1m,tmpfs-mode=700",
        "target=/anon",
    ]
    script = "touch /b/x 2>/dev/null || echo ro; touch /v/x /anon/x; stat -c %a /t; grep ' /t ' /proc/mounts"
    flags = [word for option in options for word in ("--mount", option)]
    seen = ok(store, "run", "--rm", *flags, busybox, "sh", "-c", script).split()
    assert seen[:2] == ["ro", "700"]
    assert "size=1024k" in seen[-3]
    assert json.loads(ok(store, "volume", "inspect", "data"))[0]["Labels"] == {"tier": "db", "x": ""}


@pytest.mark.parametrize(
    ("text", "because"),
    [
        ("type=nfs,target=/a", "type 'nfs' is not known"),
        ("type=bind,target=/a", "needs a source"),
        ("type=bind,source=/etc", "a target is missing"),
        ("type=bind,source=/etc,target=a", "not an absolute path"),
        ("type=bind,source=/etc,target=/a,size=1", "'size' is not known"),
        ("type=bind,source=/etc,target=/a,tmpfs-size=1", "tmpfs-size is for type=tmpfs"),
        ("type=bind,source=/etc,target=/a,volume-nocopy", "volume-nocopy is for type=volume"),
        ("type=bind,source=/etc,src=/var,target=/a", "source is given twice"),
        ("type=bind,source=/etc,target=/a,readonly=perhaps", "neither true nor false"),
        ("type=bind,source=/etc,target=/a,bind-propagation=rshared", "would show the container's mounts"),
        ("type=bind,source=/etc,target=/a,bind-propagation=odd", "'odd' is not known"),
        ("type=bind,source=/etc,target=/a,bind-recursive=writable", "always recursive"),
        ("type=bind,source=/no/such,target=/a", "does not exist"),
        ("type=bind,source=/etc,target=/proc/x", "belongs to the sandbox"),
        ("type=volume,source=/etc,target=/a", "takes a volume's name"),
        ("type=volume,source=-x,target=/a", "neither an absolute path nor a volume's name"),
        ("type=volume,source=x,target=/a,volume-driver=nfs", "one driver"),
        ("type=tmpfs,source=x,target=/a", "has no source"),
        ("type=tmpfs,target=/a,tmpfs-size=big", "is no size"),
        ("type=tmpfs,target=/a,tmpfs-mode=9", "no octal number"),
        ('type=tmpfs,"target=/a', "not a list of KEY=VALUE"),
        ("", "a target is missing"),
    ],
)
def test_every_mistake_in_the_long_form_has_its_word(
    store: Daemon, busybox: Path, text: str, because: str
) -> None:
    assert because in refused(store, "run", "--rm", "--mount", text, busybox, "true")
    assert names(store) == []


def test_options_of_the_short_form(store: Daemon, busybox: Path, tmp_path: Path) -> None:
    for text, because in (
        ("data:/a:shared", "would show the container's mounts"),
        ("data:/a:rx", "'rx' is not known"),
        ("data:/a:ro:x", "expected SOURCE:TARGET"),
        ("a b:/a", "neither an absolute path nor a volume's name"),
        ("data:/a:rslave", "host paths only"),
        (f"{tmp_path}:/a:nocopy", "never filled"),
    ):
        assert because in refused(store, "run", "--rm", "-v", text, busybox, "true"), text
    done = store.cli("run", "--rm", "-v", f"{tmp_path}:/a:ro,Z", busybox, "echo", "ran")
    assert done.stdout == "ran\n"
    assert "has no SELinux" in done.stderr
    assert names(store) == []


def test_a_bind_that_is_not_recursive_leaves_out_what_is_mounted_below(
    store: Daemon, busybox: Path, tmp_path: Path
) -> None:
    (tmp_path / "below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "below"], check=True)
    try:
        (tmp_path / "below/file").write_text("x")
        bind = f"type=bind,source={tmp_path},target=/v"
        assert ok(store, "run", "--rm", "--mount", bind, busybox, "ls", "/v/below") == "file\n"
        alone = f"{bind},bind-nonrecursive"
        assert ok(store, "run", "--rm", "--mount", alone, busybox, "ls", "/v/below") == ""
    finally:
        subprocess.run(["umount", tmp_path / "below"], check=True)


def test_a_slave_sees_what_the_host_mounts_later_and_passes_nothing_back(
    store: Daemon, busybox: Path, tmp_path: Path
) -> None:
    bind = f"type=bind,source={tmp_path},target=/v,bind-propagation=rslave"
    assert "not on a shared mount" in refused(store, "run", "--rm", "--mount", bind, busybox, "true")
    subprocess.run(["mount", "--bind", tmp_path, tmp_path], check=True)
    try:
        subprocess.run(["mount", "--make-shared", tmp_path], check=True)
        (tmp_path / "late").mkdir()
        # A volume in it: mounted on the slave, it must not show on the host.
        (tmp_path / "vol").mkdir()
        ok(
            store,
            "run",
            "-d",
            "--name",
            "slave",
            "--mount",
            bind,
            "-v",
            "data:/v/vol",
            busybox,
            "sleep",
            "60",
        )
        before = subprocess.run(
            ["findmnt", "-rn", "-o", "TARGET"], capture_output=True, text=True, check=True
        )
        assert f"{tmp_path}/vol" not in before.stdout.split(), "a container's mount shows on the host"
        subprocess.run(["mount", "-t", "tmpfs", "none", tmp_path / "late"], check=True)
        with store.client() as client:
            pid = client.inspect("slave").pid
        with open(f"/proc/{pid}/mounts", encoding="utf-8") as mounts:
            assert " /v/late " in mounts.read(), "the host's mount did not arrive"
        ok(store, "rm", "-f", "slave")
    finally:
        subprocess.run(["umount", "-R", tmp_path], check=True)


# -- crowds, races, restarts --------------------------------------------------------------------------------


def test_twenty_runs_of_a_new_volume_fill_it_once(store: Daemon, image: Path) -> None:
    """Nobody sees a half-filled one."""
    for _ in range(3):

        def run(_: int) -> bytes:
            with store.client() as client:
                volume = Volume(source="data", target="/data")
                spec = RunSpec(image=str(image), command=("ls", "/data"), volumes=(volume,), auto_remove=True)
                return client.run(spec).stdout

        with ThreadPoolExecutor(20) as threads:
            seen = set(threads.map(run, range(20)))
        assert len(seen) == 1, seen
        assert b"sparse" in seen.pop()
        ok(store, "volume", "rm", "data")


def test_removal_against_run_is_one_of_the_legal_outcomes(store: Daemon, image: Path) -> None:
    """A run has its volume whole, or the removal came first and it is made anew."""
    volume = Volume(source="data", target="/data")
    spec = RunSpec(image=str(image), command=("cat", "/data/file"), volumes=(volume,), auto_remove=True)
    done = threading.Event()
    outcomes = {"removed": 0, "used": 0, "not there": 0}

    def remove() -> None:
        with store.client() as client:
            while not done.is_set():
                try:
                    client.remove_volume("data")
                    outcomes["removed"] += 1
                except Conflict:
                    outcomes["used"] += 1
                except NotFound:
                    outcomes["not there"] += 1

    remover = threading.Thread(target=remove)
    remover.start()
    try:
        with store.client() as client:
            for _ in range(100):
                assert client.run(spec).stdout == b"from the image\n"
    finally:
        done.set()
        remover.join()
    assert outcomes["removed"] > 0, outcomes
    assert outcomes["used"] > 0, outcomes


def test_volumes_survive_a_killed_supervisor(fresh_wherryd: Daemon, image: Path) -> None:
    """What was half made is gone, what was whole is there, and containers have theirs."""
    daemon = fresh_wherryd
    ok(daemon, "volume", "create", "--label", "a=b", "old")
    ok(daemon, "create", "--name", "web", "-v", "data:/data", "-v", "/anon", image, "cat", "/data/file")
    before = names(daemon)
    daemon.kill()
    (daemon.state_dir / "volumes/old/_filling").mkdir()
    (daemon.state_dir / "volumes/stray/_data").mkdir(parents=True)
    daemon.start()
    assert names(daemon) == before
    assert json.loads(ok(daemon, "volume", "inspect", "old"))[0]["Labels"] == {"a": "b"}
    assert sorted(os.listdir(daemon.state_dir / "volumes")) == before
    assert os.listdir(daemon.state_dir / "volumes/old") == ["_data"]
    assert ok(daemon, "start", "-a", "web") == "from the image\n"
    assert "used by container web" in refused(daemon, "volume", "rm", "data")
    ok(daemon, "rm", "-v", "web")
    assert names(daemon) == ["data", "old"]


def test_a_client_that_hangs_up_during_the_filling_leaves_nothing(store: Daemon, image: Path) -> None:
    for number in range(4000):
        (image / f"data/deep/{number}").write_bytes(b"x")
    volume = store.state_dir / "volumes/data"
    for _ in range(10):
        with store.popen("run", "--rm", "-v", "data:/data", image, "true") as process:
            assert wait_for(lambda: (volume / "_filling/deep/100").exists() or (volume / "_data").exists())
            process.kill()
        if wait_for(lambda: not (volume / "_filling").exists()) and not volume.exists():
            break
        ok(store, "volume", "rm", "-f", "data")  # it was whole before the client was gone
    else:
        raise AssertionError("half a volume stayed, or each was whole")
    assert names(store) == []
