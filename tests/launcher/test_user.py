"""User strings, resolved in the container's own files: the exact ids or an error, never 0 by mistake."""

from __future__ import annotations

import os

import pytest
from launching import Ground, output

from wherryd.launcher.handle import SpawnFailed, open_launcher
from wherryd.launcher.user import settled

USERS = """\
root:x:0:0:root:/root:/bin/sh
bob:x:1000:1001:Bob:/home/bob:/bin/sh
broken:x:not-a-number:0::/:/bin/sh
short:x:5
1234:x:77:77:a name of digits:/:/bin/sh
"""
GROUPS = """\
root:x:0:
staff:x:50:bob
bob:x:1001:
wheel:x:10:root,bob
"""


@pytest.fixture
def people(ground: Ground) -> Ground:
    ground.image = ground.private_image()
    (ground.image / "etc/passwd").write_text(USERS)
    (ground.image / "etc/group").write_text(GROUPS)
    return ground


@pytest.mark.parametrize(
    ("user", "expected"),
    [
        ("", "0 0 0 10"),
        ("bob", "1000 1001 1001 50 10"),
        ("1000", "1000 1001 1001 50 10"),
        ("bob:staff", "1000 50 50"),
        ("bob:7", "1000 7 7"),
        ("4242", "4242 0 0"),
        ("4242:4243", "4242 4243 4243"),
        ("4294967294", "4294967294 0 0"),
        ("1234", "77 77 77"),
    ],
)
async def test_user_becomes_exactly_these_ids(people: Ground, user: str, expected: str) -> None:
    script = "echo $(id -u) $(id -g) $(id -G)"
    got = (await output(people, "sh", "-c", script, user=user)).split()
    assert (got[:2], set(got[2:])) == (expected.split()[:2], set(expected.split()[2:]))


@pytest.mark.parametrize(
    "user",
    [
        *("nobody-here", "broken", "short", "root:nogroup", ":0", "root:"),
        *("4294967296", "4294967295", "bob:4294967295", "-1", "+0", "0x0", "00000000000", "\u0660"),
        *("root\n", " root"),
    ],
)
async def test_any_other_user_is_an_error(people: Ground, user: str) -> None:
    plan = people.plan("id")
    wrong = type(plan)(**{**plan.__dict__, "user": user})
    async with open_launcher(people.run_dir) as launcher:
        with pytest.raises(SpawnFailed) as caught:
            await launcher.spawn(wrong)
    assert caught.value.step == "user"


async def test_home_is_the_users_unless_given(people: Ground) -> None:
    assert await output(people, "sh", "-c", "echo $HOME", user="bob") == "/home/bob\n"
    assert await output(people, "sh", "-c", "echo $HOME", user="bob", env={"HOME": "/x"}) == "/x\n"


@pytest.mark.parametrize("kind", ["fifo", "huge", "directory", "device-link"])
async def test_hostile_passwd_is_an_error_and_no_hang(people: Ground, kind: str) -> None:
    passwd = people.image / "etc/passwd"
    passwd.unlink()
    if kind == "fifo":
        os.mkfifo(passwd)
    elif kind == "huge":
        with passwd.open("wb") as file:
            file.truncate(1 << 30)
    elif kind == "directory":
        passwd.mkdir()
    else:
        passwd.symlink_to("/dev/zero")
    async with open_launcher(people.run_dir) as launcher:
        with pytest.raises(SpawnFailed) as caught:
            await launcher.spawn(people.plan("id", user="bob"))
    assert (caught.value.step, caught.value.path) == ("user", "/etc/passwd")


async def test_passwd_may_be_a_link_within_the_image(people: Ground) -> None:
    (people.image / "etc/passwd").rename(people.image / "etc/real")
    (people.image / "etc/passwd").symlink_to("/etc/real")
    assert await output(people, "id", "-u", user="bob") == "1000\n"


async def test_without_passwd_numbers_still_work(people: Ground) -> None:
    (people.image / "etc/passwd").unlink()
    (people.image / "etc/group").unlink()
    assert await output(people, "sh", "-c", "id -u; id -g", user="12:13") == "12\n13\n"


async def test_other_users_may_open_their_standard_streams(people: Ground) -> None:
    assert await output(people, "sh", "-c", "echo ok >/dev/stdout", user="bob") == "ok\n"


@pytest.mark.parametrize(
    ("changed", "after", "expected"),
    [
        (1_700_000_000_123_456_789, 49_000_000, False),
        (1_700_000_000_123_456_789, 50_000_000, True),
        (1_700_000_000_000_000_000, 50_000_000, False),
        (1_700_000_000_000_000_000, 1_000_000_000, True),
        (1_700_000_000_123_456_789, -1, False),
    ],
)
def test_a_file_counts_as_unchanged_by_its_times_only_where_they_would_tell(
    changed: int, after: int, expected: bool
) -> None:
    """Of a file system that keeps whole seconds, a second change within one cannot be seen."""
    assert settled(changed, changed + after) is expected
