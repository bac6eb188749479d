"""What the `host` image has besides /usr: the machine's public files that are copied, and what is made.

Data only. Never list here what identifies the machine or lets one in: shadow, ssh, machine-id, sudoers.
"""

from __future__ import annotations

MERGED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")
"""Symlinks into usr/ on most systems; where they are directories of their own they are bound like /usr."""

FOLDERS = (
    ("dev", 0o755), ("etc", 0o755), ("home", 0o755), ("media", 0o755), ("mnt", 0o755), ("opt", 0o755),
    ("proc", 0o555), ("root", 0o700), ("run", 0o755), ("run/lock", 0o1777), ("srv", 0o755), ("sys", 0o555),
    ("tmp", 0o1777), ("usr", 0o755), ("var", 0o755), ("var/cache", 0o755), ("var/lib", 0o755),
    ("var/log", 0o755), ("var/mail", 0o755), ("var/spool", 0o755), ("var/tmp", 0o1777),
)  # fmt: skip

LINKS = (("var/run", "/run"), ("var/lock", "/run/lock"), ("etc/mtab", "/proc/self/mounts"))

COPIED = (
    "alternatives", "bash.bashrc", "ca-certificates", "ca-certificates.conf", "debian_version",
    "default/locale", "gai.conf", "host.conf", "inputrc", "ld.so.cache", "ld.so.conf", "ld.so.conf.d",
    "locale.alias", "locale.conf", "localtime", "mime.types", "networks", "os-release",
    "pki/ca-trust/extracted", "pki/tls/certs", "profile", "protocols", "rpc", "services", "ssl/cert.pem",
    "ssl/certs", "ssl/openssl.cnf", "terminfo", "timezone",
)  # fmt: skip
"""Below /etc; folders with all that is in them. Only what every user may read is taken."""

MADE = {
    "passwd": (
        "root:*:0:0:root:/root:/bin/sh\n"
        "daemon:*:1:1:daemon:/usr/sbin:/usr/sbin/nologin\n"
        "bin:*:2:2:bin:/bin:/usr/sbin/nologin\n"
        "sys:*:3:3:sys:/dev:/usr/sbin/nologin\n"
        "mail:*:8:8:mail:/var/mail:/usr/sbin/nologin\n"
        "www-data:*:33:33:www-data:/var/www:/usr/sbin/nologin\n"
        "nobody:*:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
    ),
    "group": (
        "root:*:0:\ndaemon:*:1:\nbin:*:2:\nsys:*:3:\nadm:*:4:\ntty:*:5:\ndisk:*:6:\nmail:*:8:\n"
        "www-data:*:33:\nutmp:*:43:\nstaff:*:50:\nusers:*:100:\nnogroup:*:65534:\n"
    ),
    "nsswitch.conf": (
        "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\n"
        "protocols: files\nservices: files\nethers: files\nrpc: files\n"
    ),
    "shells": "/bin/sh\n/bin/bash\n",
    "hosts": "",
    "hostname": "",
    "resolv.conf": "",
}
"""Below /etc. The last three are where a container's own files are mounted."""
