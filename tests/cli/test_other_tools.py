"""Archives that skopeo and umoci made are loaded and run; what `save` wrote is read by them."""

from __future__ import annotations

import json
import shutil
import subprocess
import tarfile
from typing import TYPE_CHECKING

import pytest
from clikit import ok

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from support.daemon import Daemon


def tool(name: str, *args: str | Path) -> str:
    assert shutil.which(name), f"{name} is missing: apt-get install -y {name}"
    done = subprocess.run([name, *args], capture_output=True, text=True, check=False)
    assert done.returncode == 0, (name, args, done.stderr)
    return done.stdout


@pytest.fixture(scope="module")
def layout(busybox: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI layout by umoci: busybox and, in layers of their own, a file that comes and goes and a text."""
    base = tmp_path_factory.mktemp("umoci")
    made = base / "layout"
    tool("umoci", "init", "--layout", made)
    image = f"{made}:v1"
    tool("umoci", "new", "--image", image)
    tool("umoci", "insert", "--image", image, busybox, "/")
    (base / "gone").write_text("not for long\n")
    tool("umoci", "insert", "--image", image, base / "gone", "/etc/gone")
    tool("umoci", "insert", "--image", image, "--whiteout", "/etc/gone")
    (base / "greeting").write_text("from umoci\n")
    tool("umoci", "insert", "--image", image, base / "greeting", "/etc/greeting")
    tool(
        "umoci", "config", "--image", image, "--config.cmd", "cat", "--config.cmd", "/etc/greeting",
        "--config.env", "MADE_BY=umoci", "--config.workingdir", "/tmp", "--config.user", "1000:1000",
    )  # fmt: skip
    return made


@pytest.fixture(autouse=True)
def no_images_left(wherryd: Daemon) -> Iterator[None]:
    """Others share the supervisor."""
    yield
    for digest in wherryd.cli("images", "-q").stdout.split():
        ok(wherryd, "rmi", "-f", digest)


def check(wherryd: Daemon, reference: str) -> None:
    assert ok(wherryd, "run", "--rm", reference) == "from umoci\n", "not the image's own command"
    script = "echo $MADE_BY; pwd; id -u; ls /etc/gone 2>&1 || true"
    seen = ok(wherryd, "run", "--rm", reference, "sh", "-c", script).splitlines()
    assert seen[:3] == ["umoci", "/tmp", "1000"]
    assert "No such file" in seen[3], "a file of a lower layer came back"


def test_an_oci_layout_by_umoci_runs(wherryd: Daemon, layout: Path, tmp_path: Path) -> None:
    archive = tmp_path / "layout.tar"
    with tarfile.open(archive, "w") as tar:
        tar.add(layout, arcname=".")
    assert ok(wherryd, "load", "-i", archive) == "Loaded image: layout:v1\n"
    check(wherryd, "layout:v1")


@pytest.mark.parametrize("kind", ["docker-archive", "oci-archive"])
def test_an_archive_by_skopeo_runs(wherryd: Daemon, layout: Path, tmp_path: Path, kind: str) -> None:
    archive, name = tmp_path / "image.tar", f"example.org/{kind}:v1"
    tool("skopeo", "copy", "--insecure-policy", f"oci:{layout}:v1", f"{kind}:{archive}:{name}")
    assert name in ok(wherryd, "load", "-i", archive)
    check(wherryd, name)


def test_skopeo_and_umoci_read_what_save_wrote(wherryd: Daemon, layout: Path, tmp_path: Path) -> None:
    source = tmp_path / "source.tar"
    tool("skopeo", "copy", "--insecure-policy", f"oci:{layout}:v1", f"docker-archive:{source}:kept:v1")
    ok(wherryd, "load", "-i", source)
    saved = tmp_path / "saved.tar"
    ok(wherryd, "save", "-o", saved, "kept:v1")
    found = json.loads(tool("skopeo", "inspect", f"oci-archive:{saved}:v1"))
    assert "MADE_BY=umoci" in found["Env"]
    again = tmp_path / "again"
    tool("skopeo", "copy", "--insecure-policy", f"oci-archive:{saved}:v1", f"oci:{again}:v1")
    tool("umoci", "unpack", "--image", f"{again}:v1", tmp_path / "bundle")
    root = tmp_path / "bundle" / "rootfs"
    assert (root / "etc/greeting").read_text() == "from umoci\n"
    assert not (root / "etc/gone").exists()
