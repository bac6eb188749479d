"""A small image that needs no network: Debian's static busybox, as a directory and as archives."""

from __future__ import annotations

import gzip
import lzma
import shutil
import subprocess
import tarfile
from dataclasses import dataclass
from pathlib import Path

import pytest
import zstandard

BUSYBOX = Path("/bin/busybox")
FOLDERS = ("bin", "dev", "etc", "home", "proc", "root", "run", "sys", "tmp", "usr", "var")


@dataclass(frozen=True, kw_only=True)
class Archives:
    """The same image as a tar archive, plain and compressed."""

    tar: Path
    gz: Path
    xz: Path
    zst: Path


def make_directory(where: Path) -> Path:
    """Make the image as a directory."""
    applets = _applets()
    for folder in FOLDERS:
        (where / folder).mkdir(parents=True)
    (where / "tmp").chmod(0o1777)
    (where / "root").chmod(0o700)
    shutil.copy2(BUSYBOX, where / "bin/busybox")
    for applet in applets:
        (where / "bin" / applet).symlink_to("busybox")
    users = "root:x:0:0:root:/root:/bin/sh\nuser:x:1000:1000:A User:/home:/bin/sh\n"
    (where / "etc/passwd").write_text(users, encoding="ascii")
    (where / "etc/group").write_text("root:x:0:\nuser:x:1000:\nextra:x:2000:user\n", encoding="ascii")
    return where


def make_archives(directory: Path, where: Path) -> Archives:
    """Pack the directory image."""
    archives = Archives(**{kind: where / f"busybox.{kind}" for kind in ("tar", "gz", "xz", "zst")})
    with tarfile.open(archives.tar, "w", format=tarfile.PAX_FORMAT) as tar:
        tar.add(directory, arcname=".")
    data = archives.tar.read_bytes()
    archives.gz.write_bytes(gzip.compress(data, 1))
    archives.xz.write_bytes(lzma.compress(data, preset=0))
    archives.zst.write_bytes(zstandard.compress(data))
    return archives


def _applets() -> list[str]:
    missing = "busybox is missing or dynamic: apt-get install -y busybox-static"
    if not BUSYBOX.exists():
        pytest.fail(missing, pytrace=False)
    if b"/ld-linux" in BUSYBOX.read_bytes():
        pytest.fail(missing, pytrace=False)
    listed = subprocess.run([BUSYBOX, "--list"], check=True, capture_output=True, text=True).stdout.split()
    return [applet for applet in listed if applet != "busybox"]
