"""Copies a directory tree with owners, modes, times, links, holes and extended attributes.

Works on descriptors and never follows a link. Devices and sockets are left out: a volume has none. Whoever
calls it has made sure that nothing else can be reached.
"""

from __future__ import annotations

import errno
import os
import stat

ATTRIBUTES = ("user.", "security.capability", "system.posix_acl_")
"""Extended attributes that mean something elsewhere; the rest is the file system's or a policy's own."""

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_KINDS = (stat.S_IFREG, stat.S_IFLNK, stat.S_IFIFO)
_CHUNK = 1 << 30
_BUFFER = 1 << 20
_NOT_HERE = (errno.EXDEV, errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


class TreeCopy:
    """One copy, from what is in one open directory into another, empty one."""

    def __init__(self, source: int, target: int) -> None:
        self._source = source
        self._target = target
        self._linked: dict[tuple[int, int], str] = {}

    def run(self) -> None:
        """Copy everything, and the directory's own attributes. Raises OSError naming the file."""
        folders = ["."]
        for folder in folders:  # grows while it runs
            self._fill(folder, folders)
        for folder in reversed(folders):  # times last, innermost first: what is made inside changes them
            source, target = _open(folder, _FOLDER, self._source), _open(folder, _FOLDER, self._target)
            try:
                _take_over(source, target, os.fstat(source))
            finally:
                os.close(source)
                os.close(target)

    def _fill(self, folder: str, folders: list[str]) -> None:
        source, target = _open(folder, _FOLDER, self._source), _open(folder, _FOLDER, self._target)
        try:
            with os.scandir(source) as entries:
                for entry in entries:
                    path = f"{folder}/{entry.name}"
                    found = entry.stat(follow_symlinks=False)
                    if stat.S_ISDIR(found.st_mode):
                        os.mkdir(entry.name, 0o700, dir_fd=target)
                        folders.append(path)
                    else:
                        self._copy(entry.name, path, found, source, target)
        except OSError as error:
            raise OSError(error.errno, error.strerror, error.filename or folder) from error
        finally:
            os.close(source)
            os.close(target)

    def _copy(self, name: str, path: str, found: os.stat_result, source: int, target: int) -> None:
        if stat.S_IFMT(found.st_mode) not in _KINDS:
            return
        if found.st_nlink > 1 and self._link(name, path, found, target):
            return
        if stat.S_ISREG(found.st_mode):
            _copy_file(name, source, target)
        elif stat.S_ISLNK(found.st_mode):
            os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
            times = (found.st_atime_ns, found.st_mtime_ns)
            os.utime(name, ns=times, dir_fd=target, follow_symlinks=False)
        else:
            os.mkfifo(name, 0o600, dir_fd=target)
            os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
            os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)
            os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target)

    def _link(self, name: str, path: str, found: os.stat_result, target: int) -> bool:
        """Make the further name of a file that was copied; False for a file's first name."""
        first = self._linked.setdefault((found.st_dev, found.st_ino), path)
        if first == path:
            return False
        os.link(first, name, src_dir_fd=self._target, dst_dir_fd=target, follow_symlinks=False)
        return True


def _open(path: str, flags: int, directory: int) -> int:
    return os.open(path, flags, dir_fd=directory)


def _copy_file(name: str, source: int, target: int) -> None:
    # O_NONBLOCK: should it be a fifo by now, it must not hold us up.
    reading = _open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, source)
    try:
        found = os.fstat(reading)
        if not stat.S_ISREG(found.st_mode):
            raise OSError(errno.ESTALE, "it was replaced while it was read", name)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        writing = os.open(name, flags, 0o600, dir_fd=target)
        try:
            _copy_data(reading, writing, found.st_size)
            _take_over(reading, writing, found)
        finally:
            os.close(writing)
    finally:
        os.close(reading)


def _copy_data(reading: int, writing: int, size: int) -> None:
    """Copy the parts of a file that are not holes."""
    os.ftruncate(writing, size)
    end = 0
    while end < size:
        try:
            start = os.lseek(reading, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return  # a hole to the end
            raise
        end = os.lseek(reading, start, os.SEEK_HOLE)
        _copy_range(reading, writing, start, end)


def _copy_range(reading: int, writing: int, start: int, end: int) -> None:
    try:
        while start < end:
            done = os.copy_file_range(reading, writing, min(end - start, _CHUNK), start, start)
            if not done:
                return  # it became shorter
            start += done
    except OSError as error:
        if error.errno not in _NOT_HERE:
            raise
        while start < end and (data := os.pread(reading, min(end - start, _BUFFER), start)):
            start += os.pwrite(writing, data, start)


def _take_over(source: int, target: int, found: os.stat_result) -> None:
    """Give owner, mode, extended attributes and times; in this order: a change of owner clears the others."""
    os.fchown(target, found.st_uid, found.st_gid)
    os.fchmod(target, stat.S_IMODE(found.st_mode))
    for name in _attributes(source):
        os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))


def _attributes(source: int) -> list[str]:
    try:
        return [name for name in os.listxattr(source) if name.startswith(ATTRIBUTES)]
    except OSError as error:
        if error.errno == errno.EOPNOTSUPP:
            return []
        raise
