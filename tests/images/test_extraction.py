"""What an archive says, the layer is: compared with GNU tar's own extraction, or with the source."""

# a test may block its own loop

from __future__ import annotations

import bz2
import gzip
import lzma
import os
import stat
import struct
import subprocess
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import zstandard
from tarkit import folder, gnu_tar, hardlink, member, raw_header, snapshot, symlink, tar_bytes

if TYPE_CHECKING:
    from wherryd.images.store import ImageStore

Write = Callable[..., str]
# struct vfs_cap_data, revision 2: cap_net_raw permitted, effective
NET_RAW = struct.pack("<IIIII", 0x02000001, 1 << 13, 0, 0, 0)


async def root_of(store: ImageStore, path: str) -> Path:
    image = await store.resolve(path, None)
    assert image.digest is not None
    return Path(image.layers[0])


def rich_tree(root: Path, *, gid: int = 4_000_000_000, longest: int = 200) -> None:
    """A tree with one of everything that is kept."""
    (root / "bin").mkdir(parents=True)
    (root / "bin/su").write_bytes(b"setuid" * 100)
    (root / "bin/su").chmod(0o4755)
    (root / "bin/alias").hardlink_to(root / "bin/su")
    (root / "bin/ping").write_bytes(b"caps")
    os.setxattr(root / "bin/ping", "security.capability", NET_RAW)
    (root / "sh").symlink_to("/bin/su")
    (root / "up").symlink_to("../../..")
    (root / "tmp").mkdir()
    (root / "tmp").chmod(0o1777)
    (root / "group").mkdir()
    os.chown(root / "group", 1000, gid)
    (root / "group").chmod(0o2770)
    (root / "group" / "inside").write_bytes(b"")
    (root / "closed").mkdir()
    (root / "closed" / "deep").mkdir()
    (root / "closed" / "deep" / ("n" * longest)).write_bytes(os.urandom(700_000))
    (root / "closed").chmod(0)
    (root / os.fsdecode(b"latin-\xe9")).write_bytes(b"1")
    (root / "ünïcode").write_bytes(b"2")
    os.setxattr(root / "ünïcode", "user.note", b"a\0b\n=%")
    os.lchown(root / "sh", 12, 34)
    os.mkfifo(root / "fifo")
    with (root / "holes").open("wb") as file:
        file.seek(5 << 20)
        file.write(b"end")
        file.truncate(9 << 20)
    for index, path in enumerate(sorted(root.rglob("*"), reverse=True)):
        os.utime(path, ns=(0, 1_600_000_000_123_456_789 + index), follow_symlinks=False)


@pytest.mark.parametrize("format_", ["gnu", "pax", "ustar"])
async def test_layer_equals_what_gnu_tar_extracts(store: ImageStore, tmp_path: Path, format_: str) -> None:
    """Owners, modes, times, links, holes, names and attributes are as GNU tar makes them."""
    source, reference = tmp_path / "source", tmp_path / "reference"
    if format_ == "ustar":
        rich_tree(source, gid=1000, longest=90)  # what its fields can hold
    else:
        rich_tree(source)
    options = ["--sparse"] if format_ != "ustar" else []
    if format_ == "pax":
        options += ["--xattrs", "--xattrs-include=*"]
    path = gnu_tar(source, tmp_path / "a.tar", f"--format={format_}", *options)
    reference.mkdir()
    subprocess.run(
        ["tar", "-xpf", path, "-C", reference, "--xattrs", "--xattrs-include=*", "--numeric-owner"],
        check=True,
    )
    layer = await root_of(store, str(path))
    assert snapshot(layer) == snapshot(reference)
    if format_ == "pax":
        assert snapshot(layer) == snapshot(source)


async def test_sparse_file_takes_no_room_for_its_holes(store: ImageStore, tmp_path: Path) -> None:
    """A hole stays a hole, in each form that GNU tar has written."""
    source = tmp_path / "source"
    source.mkdir()
    with (source / "holes").open("wb") as file:
        for at in range(0, 60 << 20, 4 << 20):  # more pieces than fit into one header
            file.seek(at)
            file.write(b"piece%d" % at)
        file.truncate(64 << 20)
    for option in ("--format=gnu", "--sparse-version=0.0", "--sparse-version=0.1", "--sparse-version=1.0"):
        pax = [] if "gnu" in option else ["--format=pax"]
        path = gnu_tar(source, tmp_path / f"{option}.tar", *pax, option, "--sparse")
        holes = await root_of(store, str(path)) / "holes"
        assert holes.read_bytes() == (source / "holes").read_bytes(), option
        assert holes.stat().st_blocks * 512 < 4 << 20, option


@pytest.mark.parametrize(
    "compress",
    [
        gzip.compress,
        bz2.compress,
        lzma.compress,
        zstandard.ZstdCompressor().compress,
        lambda data: gzip.compress(data[:7000]) + gzip.compress(data[7000:]),
        lambda data: bz2.compress(data[:7000]) + bz2.compress(data[7000:]),
        lambda data: lzma.compress(data[:7000]) + lzma.compress(data[7000:]),
        lambda data: zstandard.compress(data[:7000]) + zstandard.compress(data[7000:]),
        lambda data: gzip.compress(data) + bytes(1000),
        lambda data: zstandard.compress(bytes(0)) + zstandard.compress(data),
    ],
    ids="gzip bzip2 xz zstd gzip2 bzip2-2 xz2 zstd2 gzip-padded zstd-empty-frame".split(),
)
async def test_compression_is_known_by_content(
    store: ImageStore, archive: Write, compress: Callable[[bytes], bytes]
) -> None:
    """Whatever the file is called, and in however many members it comes."""
    data = os.urandom(300_000) + bytes(3 << 20)
    path = archive(compress(tar_bytes(member("a/file", data))), "misleading.zip")
    assert (await root_of(store, path) / "a/file").read_bytes() == data


async def test_later_entry_wins(store: ImageStore, archive: Write) -> None:
    """As in GNU tar; and what has another name keeps its content."""
    path = archive(
        tar_bytes(
            member("first", b"1"),
            hardlink("other", "first"),
            member("first", b"2"),
            symlink("link", "first"),
            member("link", b"3"),
            member("was-file", b"4"),
            folder("was-file"),
            member("was-file/inside", b"5"),
            symlink("was-link", "/etc"),
            folder("was-link", mode=0o700),
            member("was-link/inside", b"6"),
            folder("was-folder"),
            symlink("was-folder", "first"),
            folder("twice", mode=0o700),
            member("twice/a", b"7"),
            folder("twice", mode=0o711, uid=5),
        )
    )
    root = await root_of(store, path)
    texts = {
        name: (root / name).read_bytes()
        for name in ("first", "other", "link", "was-file/inside", "was-link/inside", "twice/a")
    }
    assert texts == {
        "first": b"2", "other": b"1", "link": b"3", "was-file/inside": b"5",
        "was-link/inside": b"6", "twice/a": b"7",
    }  # fmt: skip
    assert not (root / "link").is_symlink()
    assert (root / "was-folder").readlink() == Path("first")
    assert (root / "twice").stat().st_uid == 5
    assert stat.S_IMODE((root / "twice").stat().st_mode) == 0o711


async def test_names_are_taken_relative_to_the_root(store: ImageStore, archive: Write) -> None:
    """A slash in front, ./ and doubled slashes change nothing; missing folders are made."""
    path = archive(
        tar_bytes(
            folder("./", mode=0o750),
            member("/etc/passwd", b"1"),
            member(".//usr/./bin//sh", b"2"),
            hardlink("/copy", "/etc/passwd"),
            member("..x/.hidden/...", b"3"),
        )
    )
    root = await root_of(store, path)
    assert (root / "etc/passwd").read_bytes() == b"1"
    assert (root / "copy").samefile(root / "etc/passwd")
    assert (root / "usr/bin/sh").read_bytes() == b"2"
    assert (root / "..x/.hidden/...").read_bytes() == b"3"
    assert stat.S_IMODE(root.stat().st_mode) == 0o750
    assert stat.S_IMODE((root / "usr").stat().st_mode) == 0o755


async def test_old_and_odd_headers_are_understood(store: ImageStore, archive: Write) -> None:
    """V7 folders by their slash, base-256 numbers, negative times, global headers, data after the end."""
    big = (5_000_000).to_bytes(8, "big")
    tar = (
        raw_header(name=b"old/", type=b"\0", magic=b"")
        + raw_header(name=b"old/big", uid=b"\x80" + big[1:], mtime=b"\xff" * 11 + b"\xf6")
        + tar_bytes(member("x/y", b"data"))
    )
    root = await root_of(store, archive(tar + b"rubbish after the end"))
    assert (root / "old").is_dir()
    assert (root / "old/big").stat().st_uid == 5_000_000
    assert (root / "old/big").stat().st_mtime == -10
    assert (root / "x/y").read_bytes() == b"data"


async def test_global_headers_apply_to_all_that_follow(store: ImageStore, tmp_path: Path) -> None:
    """A pax global header gives defaults."""
    path = tmp_path / "a.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT, pax_headers={"uid": "77", "comment": "x"}) as tar:
        tar.addfile(member("one")[0])
    assert (await root_of(store, str(path)) / "one").stat().st_uid == 77


async def test_overlay_control_data_is_left_out(store: ImageStore, archive: Write) -> None:
    """An image cannot steer overlayfs, nor bring another machine's labels."""
    info, data = member("file", b"1")
    info.pax_headers = {
        f"SCHILY.xattr.{name}": "y"
        for name in ("trusted.overlay.opaque", "user.overlay.opaque", "security.selinux", "user.kept")
    }
    root = await root_of(store, archive(tar_bytes((info, data))))
    assert os.listxattr(root / "file") == ["user.kept"]


async def test_archive_cut_at_a_boundary_is_accepted(store: ImageStore, archive: Write) -> None:
    """Many programs write no end mark, and GNU tar asks for none."""
    tar = tar_bytes(member("a", b"1"), member("b", b"2"), kind=tarfile.USTAR_FORMAT)[:2048]
    assert sorted(os.listdir(await root_of(store, archive(tar)))) == ["a", "b"]


async def test_other_users_cannot_reach_a_layer(store: ImageStore, archive: Write, state: Path) -> None:
    """A setuid program of an image is no program of the host's users."""
    await root_of(store, archive(tar_bytes(member("su", b"1", mode=0o4755))))
    assert stat.S_IMODE((state / "images").stat().st_mode) == 0o700
