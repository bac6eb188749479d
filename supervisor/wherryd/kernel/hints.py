"""From a failed kernel operation to one sentence of help. Owns the texts; must never guess a cause."""

import errno

_BY_OPERATION = {
    ("clone3", errno.EAGAIN): "a limit on processes is reached: see pids.max and ulimit -u",
    ("clone3", errno.ENOSPC): "a limit on namespaces is reached: see /proc/sys/user/max_*_namespaces",
    ("clone3", errno.EPERM): "containers are started as root, with CAP_SYS_ADMIN",
    ("clone3", errno.EBUSY): "the cgroup has controllers enabled for its children, so it takes no processes",
    ("clone3", errno.EOPNOTSUPP): "the cgroup is in a threaded subtree",
    ("clone3", errno.ENOSYS): "Linux 5.7 or newer is needed",
    ("mount overlay", errno.EINVAL): "a layer may be on a file system that overlay cannot use: see dmesg",
    ("mount overlay", errno.ENODEV): "the kernel has no overlay file system: modprobe overlay",
    ("mount overlay", errno.ESTALE): "the upper directory belongs to other layers",
    ("mount overlay", errno.EBUSY): "the upper or work directory is in use by another overlay",
    ("mount", errno.ENODEV): "the kernel lacks this file system",
    ("openat2", errno.ELOOP): "a symbolic link stands where wherry must mount: the image is refused",
    ("openat2", errno.ENOENT): "it does not exist",
    ("openat2", errno.ENOTDIR): "a part of the path is not a directory",
    ("openat2", errno.EAGAIN): "the path was changed while it was being resolved",
    ("open_tree", errno.ENOENT): "the source does not exist on the host",
    ("open_tree", errno.EACCES): "the source cannot be reached on the host",
    ("move_mount", errno.ENOTDIR): "one of source and target is a directory, the other a file",
    ("setrlimit", errno.EPERM): "raising a hard limit needs CAP_SYS_RESOURCE, which the supervisor lacks",
    ("execve", errno.EACCES): "it is not executable",
    ("execve", errno.ENOEXEC): "it is neither a program of this machine's kind nor a script starting with #!",
    ("execve", errno.EISDIR): "it is a directory",
    ("execve", errno.E2BIG): "arguments and environment are too long together",
    ("execve", errno.ELOOP): "too many symbolic links or script interpreters in a row",
    ("mkdir", errno.EEXIST): "something that is not a directory stands there",
    ("open cgroup", errno.ENOENT): "somebody has removed it: restart the container",
    ("cgroup", errno.EBUSY): "processes are still in it",
}

_BY_ERRNO = {
    errno.ENOSPC: "the disk, its inodes or a kernel limit is used up",
    errno.EROFS: "the file system is read-only",
    errno.EDQUOT: "the disk quota is used up",
    errno.EMFILE: "too many open files: raise LimitNOFILE",
    errno.ENFILE: "the machine has too many open files: see fs.file-max",
    errno.ENOMEM: "the kernel has no memory left, or the container's limit is reached",
    errno.ENOSYS: "the kernel is too old for this",
}


def hint(op: str, number: int) -> str | None:
    """Return what a person may do about `op` failing with errno `number`, if that is known."""
    return _BY_OPERATION.get((op, number)) or _BY_ERRNO.get(number)
