"""The `host` image: programs of this machine run in it, and nothing private of the machine is in it."""

# a test may block its own loop

from __future__ import annotations

import os
import stat
import subprocess
import time
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio
from support.forms import within

from wherryd.images import host

if TYPE_CHECKING:
    from wherryd.images.reference import RootImage
    from wherryd.images.store import ImageStore

ENTER = """
set -e
mount --make-rprivate /
mount -t tmpfs root MNT
mkdir MNT/upper MNT/work MNT/root
mount -t overlay -o "lowerdir=$1,upperdir=MNT/upper,workdir=MNT/work" o MNT/root
root=MNT/root; shift
while [ "$1" != -- ]; do mount --bind -o ro "$1" "$root$1"; shift; done; shift
mount -t proc proc "$root/proc"
touch "$root/dev/null"
mount --bind /dev/null "$root/dev/null"
exec env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" "$@"
"""


def run(image: RootImage, tmp_path: Path, *command: str) -> str:
    """Run a command on a copy-on-write view of the image, in namespaces of its own."""
    (layer,) = image.layers
    binds = [target for _, target in image.binds]
    mountpoint = tmp_path / "root"
    mountpoint.mkdir()
    script = ENTER.replace("MNT", str(mountpoint))
    done = subprocess.run(
        ["unshare", "--mount", "--pid", "--fork", "sh", "-c", script, "sh", layer, *binds, "--", *command],
        check=False, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("command", "output"),
    [
        (("sh", "-c", "echo $0 works"), "sh works\n"),
        (("python3", "-c", "import ssl, json; print(6 * 7)"), "42\n"),
        (("perl", "-e", "print 6 * 7"), "42"),
        (("awk", "BEGIN { print 6 * 7 }"), "42\n"),
        (("id", "-un"), "root\n"),
        (("id", "www-data"), "uid=33(www-data) gid=33(www-data) groups=33(www-data)\n"),
        (("sh", "-c", "read name </proc/1/comm; echo $name"), "sh\n"),
        (("sh", "-c", "ls -ld /tmp /var/tmp | cut -c1-10"), "drwxrwxrwt\ndrwxrwxrwt\n"),
        (("getent", "services", "https"), "https                 443/tcp\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
async def test_everyday_programs_run(
    store: ImageStore, tmp_path: Path, command: tuple[str, ...], output: str
) -> None:
    """With nothing downloaded."""
    image = await store.resolve("host", None)
    got = run(image, tmp_path, *command)
    if command[0] == "getent":
        assert got.split()[:2] == ["https", "443/tcp"]
    else:
        assert got == output


async def test_nothing_private_is_in_it(store: ImageStore) -> None:
    """No password hash, key or identity of the machine; no file that some user could not read on the host."""
    root = Path((await store.resolve("host", None)).layers[0])
    for name in (
        "shadow",
        "gshadow",
        "machine-id",
        "ssh",
        "sudoers",
        "sudoers.d",
        "ssl/private",
        "hostname-",
        "passwd-",
    ):
        assert not os.path.lexists(root / "etc" / name), name
    assert (root / "etc/passwd").read_text().startswith("root:*:0:0:")
    for path in root.rglob("*"):
        info = path.lstat()
        assert (info.st_uid, info.st_gid) == (0, 0)
        if stat.S_ISREG(info.st_mode):
            assert info.st_mode & 0o6022 == 0, path
            assert info.st_mode & 0o004, path


def test_file_that_not_every_user_may_read_is_left_out(tmp_path: Path) -> None:
    """A key beside the certificates stays where it is; setuid and write bits do not come along."""
    source, target = tmp_path / "certs", tmp_path / "copy"
    (source / "closed").mkdir(parents=True)
    (source / "key").write_text("secret")
    (source / "key").chmod(0o640)
    (source / "closed" / "inside").write_text("secret")
    (source / "closed").chmod(0o700)
    (source / "public").write_text("public")
    (source / "public").chmod(0o6777)
    (source / "link").symlink_to("key")
    os.mkfifo(source / "fifo", 0o644)
    host._copy(source, target)
    assert sorted(os.listdir(target)) == ["link", "public"]
    assert stat.S_IMODE((target / "public").stat().st_mode) == 0o755


async def test_skeleton_is_made_once_and_again_when_the_machine_changes(
    store: ImageStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Twenty at once make one; another state of an input makes another, and the old one stays as it is."""
    watched = tmp_path / "input"
    watched.write_text("1")
    monkeypatch.setattr(host, "_INPUTS", (*host._INPUTS, str(watched)))
    images: set[str] = set()

    async def ask() -> None:
        images.add((await store.resolve("host", None)).layers[0])

    async with trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(ask)
    assert len(images) == 1
    watched.write_text("22")
    await ask()
    assert len(images) == 2
    assert all(Path(path).is_dir() for path in images)
    assert len(list(Path(images.pop()).parent.iterdir())) == 2


@pytest.mark.alone
async def test_warm_resolve_is_cheap(store: ImageStore) -> None:
    """A run of `host` must not pay for looking: well below a millisecond even on a busy machine."""
    await store.resolve("host", None)
    best = 1.0
    for _ in range(50):
        before = time.perf_counter()
        await store.resolve("host", None)
        best = min(best, time.perf_counter() - before)
    assert best < within(0.0005)


async def test_half_made_skeleton_is_removed_at_start(store: ImageStore, state: Path) -> None:
    """A crash while it was being made."""
    (state / "images/host/tmp-dead/etc").mkdir(parents=True)
    store.recover()
    assert list((state / "images/host").iterdir()) == []
