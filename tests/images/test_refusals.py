"""Archives that mean harm, or are none: one clear line, nothing kept, nothing touched outside."""

from __future__ import annotations

import gzip
import os
import tarfile
from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
from tarkit import folder, hardlink, member, raw_header, snapshot, symlink, tar_bytes

from wherry_protocol.errors import ImageError, NotFound

if TYPE_CHECKING:
    from pathlib import Path

    from wherryd.images.store import ImageStore

Write = Callable[..., str]


def pax(*records: bytes) -> bytes:
    body = b"".join(records)
    return raw_header(name=b"pax", type=b"x", size=b"%011o\0" % len(body)) + body + bytes(-len(body) % 512)


def record(key: bytes, value: bytes) -> bytes:
    length = len(key) + len(value) + 3
    while length != len(text := b"%d %s=%s\n" % (length, key, value)):
        length = len(text)
    return text


def deep(levels: int) -> bytes:
    return tar_bytes(member("/".join("d" * levels), b"x"))


HOSTILE = {
    "dotdot": (lambda _: tar_bytes(member("a/../../evil", b"x")), "a/../../evil: the name has a '..'"),
    "dotdot alone": (lambda _: tar_bytes(folder("..")), "'..'"),
    "dotdot in a hardlink": (lambda c: tar_bytes(hardlink("x", f"../../../../..{c}/secret")), "'..'"),
    "through an absolute symlink": (
        lambda c: tar_bytes(symlink("out", str(c)), member("out/evil", b"x")),
        "out/evil: its folder out is a symlink",
    ),
    "through a relative symlink": (
        lambda c: tar_bytes(symlink("out", f"../../../../../../../..{c}"), member("out/secret", b"x")),
        "its folder out is a symlink",
    ),
    "through chained symlinks": (
        lambda _: tar_bytes(symlink("a", "."), symlink("a/b", ".."), member("a/b/evil", b"x")),
        "its folder a is a symlink",
    ),
    "folder below a symlink": (
        lambda c: tar_bytes(symlink("out", str(c)), folder("out/new")), "is a symlink"
    ),
    "folder, then symlink, then below": (
        lambda c: tar_bytes(folder("d"), symlink("d", str(c)), member("d/evil", b"x")),
        "its folder d is a symlink",
    ),
    "hardlink to the outside": (lambda c: tar_bytes(hardlink("x", f"{c}/secret")), "not a file here"),
    "hardlink through a symlink": (
        lambda c: tar_bytes(symlink("out", str(c)), hardlink("x", "out/secret")),
        "a hardlink to out/secret, which is not a file here",
    ),
    "hardlink to nothing": (lambda _: tar_bytes(hardlink("x", "missing")), "not in the archive before it"),
    "hardlink to a folder": (lambda _: tar_bytes(folder("d"), hardlink("x", "d")), "not a file here"),
    "character device": (
        lambda _: tar_bytes(member("null", type=tarfile.CHRTYPE, devmajor=1, devminor=3)),
        "null: is a character device",
    ),
    "whiteout device": (lambda _: tar_bytes(member("gone", type=tarfile.CHRTYPE)), "is a character device"),
    "block device": (lambda _: tar_bytes(member("sda", type=tarfile.BLKTYPE)), "sda: is a block device"),
    "whiteout": (lambda _: tar_bytes(member("etc/.wh.passwd")), "a whiteout"),
    "opaque": (lambda _: tar_bytes(member("etc/.wh..wh..opq")), "a whiteout"),
    "no name": (lambda _: raw_header(name=b""), "without a name"),
    "root as a file": (lambda _: tar_bytes(member("./.")), "without a name"),
    "root as a symlink": (lambda c: tar_bytes(symlink("./", str(c))), "without a name"),
    "folder replaced while full": (
        lambda _: tar_bytes(folder("d"), member("d/x"), member("d", b"x")),
        "d: takes the place of a folder that is not empty",
    ),
    "file as a folder": (lambda _: tar_bytes(member("f"), member("f/x")), "its folder f is a file"),
    "negative size": (lambda _: raw_header(size=b"\xff" * 12), "-1 is no size"),
    "huge size": (lambda _: raw_header(size=b"\x80" + b"\xff" * 11), "is no size"),
    "sizes that lie": (lambda _: raw_header(size=b"77777777777\0"), "truncated"),
    "folder with data": (lambda _: raw_header(type=b"5", size=b"00000001000\0"), "a directory with a size"),
    "number with a sign": (lambda _: raw_header(size=b"-0000000001\0"), "malformed number"),
    "number with an underscore": (lambda _: raw_header(uid=b"00_0000\0"), "malformed number"),
    "user -1": (lambda _: raw_header(uid=b"\xff" * 8), "-1 is no user or group id"),
    "user 4294967295": (lambda _: tar_bytes(member("x", uid=4294967295)), "4294967295 is no user"),
    "user 4294967296": (lambda _: tar_bytes(member("x", uid=4294967296)), "4294967296 is no user"),
    "unknown type": (lambda _: raw_header(type=b"Q"), "has an unknown type"),
    "continued volume": (lambda _: raw_header(type=b"M"), "another volume"),
    "long name without end": (lambda _: raw_header(type=b"L", size=b"77777777777\0"), "extension header"),
    "pax header of 2 MiB": (
        lambda _: pax(record(b"comment", bytes(2 << 20))) + raw_header(), "extension header"
    ),
    "pax without key": (lambda _: pax(b"5 =\n ") + raw_header(), "malformed"),
    "pax with a lying length": (lambda _: pax(b"99 path=x\n") + raw_header(), "malformed"),
    "pax with length 0": (lambda _: pax(b"0 path=x\n") + raw_header(), "malformed"),
    "pax size negative": (lambda _: pax(record(b"size", b"-1")) + raw_header(), "size is no number"),
    "pax name with NUL": (lambda _: pax(record(b"path", b"a\0b")) + raw_header(), "NUL"),
    "pax name with dotdot": (lambda _: pax(record(b"path", b"a/../../b")) + raw_header(), "'..'"),
    "pax time": (lambda _: pax(record(b"mtime", b"1e9")) + raw_header(), "mtime is no time"),
    "pax time, half an exponent": (lambda _: pax(record(b"mtime", b"1e-")) + raw_header(), "is no time"),
    "pax time, long exponent": (lambda _: pax(record(b"mtime", b"1e-0005")) + raw_header(), "is no time"),
    "pax header alone": (lambda _: pax(record(b"path", b"a")), "empty"),
    "sparse map out of order": (
        lambda _: pax(
            record(b"GNU.sparse.size", b"10"), record(b"GNU.sparse.map", b"5,1,0,1")
        ) + raw_header(size=b"00000000002\0") + bytes(512),
        "out of order",
    ),
    "sparse map beyond the file": (
        lambda _: pax(
            record(b"GNU.sparse.size", b"1"), record(b"GNU.sparse.map", b"0,2")
        ) + raw_header(size=b"00000000002\0") + bytes(512),
        "does not fit",
    ),
    "sparse map of a million pieces": (
        lambda _: pax(
            record(b"GNU.sparse.major", b"1"), record(b"GNU.sparse.realsize", b"1")
        ) + raw_header(size=b"00000001000\0") + b"1000000\n".ljust(512, b"\0"),
        "more than 200,000 pieces",
    ),
    "name of 5000 bytes": (lambda _: tar_bytes(member("a/" * 2500 + "x")), "too long or too deep"),
    "part of 300 bytes": (lambda _: tar_bytes(member("a" * 300)), "File name too long"),
    "folders 300 deep": (lambda _: deep(300), "too deep"),
    "docker save": (
        lambda _: tar_bytes(member("manifest.json", b"[]"), member("abc/layer.tar", b"")),
        "it holds no image",
    ),
    "oci layout": (
        lambda _: tar_bytes(member("oci-layout", b"{}"), folder("blobs")), "it holds no image"
    ),
    "wrong checksum": (lambda _: raw_header().replace(b"ustar", b"Ustar"), "looks like other data"),
    "damaged second header": (
        lambda _: raw_header() + raw_header().replace(b"x", b"y", 1),
        "checksum is wrong",
    ),
    "no archive": (lambda _: b"hello\n", "it is no tar archive: it looks like text"),
    "zip": (lambda _: b"PK\x03\x04" + bytes(600), "it looks like a zip file"),
    "text in gzip": (lambda _: gzip.compress(b"hello\n" * 1000), "it is no tar archive: it looks like text"),
    "gzip in gzip": (lambda _: gzip.compress(gzip.compress(b"x")), "it looks like gzip data"),
    "zeros": (lambda _: bytes(10240), "the archive is empty"),
    "empty tar in gzip": (lambda _: gzip.compress(tar_bytes()), "the archive is empty"),
    "nothing in gzip": (lambda _: gzip.compress(b""), "it is empty"),
    "rubbish after gzip": (
        lambda _: gzip.compress(tar_bytes(member("a"))) + b"rubbish", "followed by something"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
async def test_refused_with_a_reason_and_nothing_left(
    store: ImageStore, archive: Write, tmp_path: Path, nothing_left: Callable[[], None], name: str
) -> None:
    """The error is an ImageError that names the file and the reason; the canary stays byte-equal."""
    canary = tmp_path / "canary"
    canary.mkdir()
    (canary / "secret").write_bytes(b"untouched")
    before = snapshot(canary)
    make, reason = HOSTILE[name]
    path = archive(make(canary))
    with pytest.raises(ImageError) as caught:
        await store.resolve(path, None)
    assert reason in str(caught.value)
    assert str(caught.value).startswith(f"image {path}: ")
    assert "\n" not in str(caught.value)
    assert snapshot(canary) == before
    assert not (tmp_path / "evil").exists()
    assert store.list() == ()
    nothing_left()


async def test_control_characters_of_a_name_do_not_reach_the_terminal(
    store: ImageStore, archive: Write
) -> None:
    """An entry's name cannot write escape sequences into an error."""
    with pytest.raises(ImageError) as caught:
        await store.resolve(archive(tar_bytes(member("\x1b[2J\n../..", b"x"))), None)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("make", ["fifo", "device", "missing", "empty"])
async def test_what_is_no_file_is_refused(store: ImageStore, tmp_path: Path, make: str) -> None:
    """A fifo does not hang, a device is not read, a hole in the path is named."""
    path = tmp_path / "thing"
    if make == "fifo":
        os.mkfifo(path)
    elif make == "empty":
        path.touch()
    target = {"device": "/dev/zero", "missing": str(path / "x")}.get(make, str(path))
    with pytest.raises(NotFound if make == "missing" else ImageError):
        await store.resolve(target, None)
