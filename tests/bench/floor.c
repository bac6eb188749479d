/* The floor under a container start: what wherry's launcher and its child ask of the kernel, in C.
 *
 * Per round, timed from before clone3 to the exit: clone3 into a fresh cgroup, new namespaces, overlay root,
 * /proc /dev /dev/pts /dev/shm /dev/mqueue /sys /sys/fs/cgroup, three files bound over /etc, masked and
 * read-only paths, pivot_root, privileges dropped, exec of /bin/true, and its exit seen. Directories and cgroup are made before
 * and removed after the clock runs.
 *
 *     gcc -O2 -o floor floor.c && ./floor IMAGE_DIR ROUNDS [CGROUP2_MOUNT [nonet] [sync]]
 *
 * Prints microseconds per round, one a line. nonet: without a network namespace; sync: no volatile overlay. Root only.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/mount.h>
#include <linux/openat2.h>
#include <linux/sched.h>
#include <net/if.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define MNT_DETACH 2
#define SAFE (MS_NOSUID | MS_NODEV | MS_NOEXEC)

int mount(const char *, const char *, const char *, unsigned long, const void *);
int umount2(const char *, int);

static char base[] = "/dev/shm/wherry-floor-XXXXXX";
static char cgroup[4096];
static int share_network, volatile_upper = 1;

static void die(const char *what) {
    perror(what);
    _exit(125);
}
#define TRY(call) ((call) < 0 ? die(#call) : (void)0)

static int in_root(int root, const char *path) {
    struct open_how how = {.flags = O_PATH | O_CLOEXEC, .resolve = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS};
    return syscall(SYS_openat2, root, path, &how, sizeof how);
}

static int made_in_root(int root, const char *path, int directory) {
    int fd = in_root(root, path);
    if (fd < 0 && directory) {
        TRY(mkdirat(root, path + 1, 0755));
    } else if (fd < 0) {
        TRY(close(openat(root, path + 1, O_CREAT | O_EXCL, 0644)));
    }
    return fd < 0 ? in_root(root, path) : fd;
}

static void filesystem(int root, const char *path, const char *type, unsigned long flags, const char *data) {
    char target[32];
    snprintf(target, sizeof target, "/proc/self/fd/%d", made_in_root(root, path, 1));
    TRY(mount(type, target, type, flags, data));
}

static int tree_of(int dirfd, const char *source, int recursive) {
    int flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0) | (*source ? 0 : AT_EMPTY_PATH);
    return syscall(SYS_open_tree, dirfd, source, flags);
}

static void options(int tree, unsigned long long set) {
    struct mount_attr attr = {.attr_set = set};
    TRY(syscall(SYS_mount_setattr, tree, "", AT_EMPTY_PATH | AT_RECURSIVE, &attr, sizeof attr));
}

static void attach(int tree, int target) {
    TRY(syscall(SYS_move_mount, tree, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH));
}

static int overlay(const char *image) {
    char data[4096], path[4096];
    int lower = open(image, O_PATH | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/upper", base);
    int upper = open(path, O_PATH | O_CLOEXEC);
    snprintf(path, sizeof path, "%s/work", base);
    int work = open(path, O_PATH | O_CLOEXEC);
    snprintf(data, sizeof data, "lowerdir=/proc/self/fd/%d,upperdir=/proc/self/fd/%d,workdir=/proc/self/fd/%d%s",
             lower, upper, work, volatile_upper ? ",volatile" : "");
    snprintf(path, sizeof path, "%s/root", base);
    TRY(mount("overlay", path, "overlay", 0, data));
    return open(path, O_PATH | O_CLOEXEC);
}

static void devices(int root) {
    static const struct { const char *name; int major, minor; } nodes[] = {
        {"null", 1, 3}, {"zero", 1, 5}, {"full", 1, 7}, {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
    static const char *links[][2] = {{"/proc/self/fd", "fd"},     {"/proc/self/fd/0", "stdin"},
                                     {"/proc/self/fd/1", "stdout"}, {"/proc/self/fd/2", "stderr"},
                                     {"pts/ptmx", "ptmx"}};
    for (size_t i = 0; i < sizeof nodes / sizeof *nodes; i++)
        TRY(mknodat(in_root(root, "/dev"), nodes[i].name, S_IFCHR | 0666, makedev(nodes[i].major, nodes[i].minor)));
    for (size_t i = 0; i < sizeof links / sizeof *links; i++)
        TRY(symlinkat(links[i][0], in_root(root, "/dev"), links[i][1]));
}

static void etc_files(int root) {
    static const char *names[] = {"hosts", "hostname", "resolv.conf"};
    char source[4096], target[64];
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        snprintf(source, sizeof source, "%s/%s", base, names[i]);
        snprintf(target, sizeof target, "/etc/%s", names[i]);
        int tree = tree_of(AT_FDCWD, source, 1);
        int fd = made_in_root(root, target, 0);
        options(tree, MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
        attach(tree, fd);
    }
}

static void hide(int root) {
    static const char *masked[] = {"acpi", "asound", "interrupts", "kcore", "keys", "latency_stats",
                                   "sched_debug", "scsi", "timer_list", "timer_stats"};
    static const char *sys[] = {"/sys/firmware", "/sys/devices/virtual/powercap"};
    static const char *fixed[] = {"/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"};
    int null = in_root(root, "/dev/null"), empty = -1;
    for (size_t i = 0; i < 12; i++) {
        char path[64];
        struct stat info;
        snprintf(path, sizeof path, "%s%s", i < 10 ? "/proc/" : "", i < 10 ? masked[i] : sys[i - 10]);
        int target = in_root(root, path);
        if (target < 0)
            continue;
        TRY(fstat(target, &info));
        if (!S_ISDIR(info.st_mode)) {
            attach(tree_of(null, "", 0), target);
        } else if (empty < 0) {
            filesystem(root, path, "tmpfs", MS_RDONLY | SAFE, "mode=755");
            empty = in_root(root, path);
        } else {
            attach(tree_of(empty, "", 0), target);
        }
    }
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        int target = in_root(root, fixed[i]);
        if (target < 0)
            continue;
        int tree = tree_of(target, "", 1);
        options(tree, MOUNT_ATTR_RDONLY);
        attach(tree, target);
    }
}

static void loopback(void) {
    struct ifreq request = {.ifr_name = "lo", .ifr_flags = IFF_UP | IFF_RUNNING};
    int sock = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    TRY(ioctl(sock, SIOCSIFFLAGS, &request));
    close(sock);
}

static void privileges(void) {
    unsigned kept = 0x800405fb;
    struct __user_cap_header_struct header = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {{.effective = kept, .permitted = kept}};
    for (int number = 0; number <= CAP_LAST_CAP; number++)
        if (number > 31 || !(kept >> number & 1))
            TRY(prctl(PR_CAPBSET_DROP, number, 0, 0, 0));
    TRY(setgroups(0, NULL));
    TRY(setresgid(0, 0, 0));
    TRY(setresuid(0, 0, 0));
    TRY(syscall(SYS_capset, &header, data));
    TRY(prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0));
}

static void child(const char *image, const int *out) {
    struct rlimit nofile = {1024, 1024};
    sigset_t none;
    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    umask(0);
    TRY(setsid());
    TRY(syscall(SYS_keyctl, 1, NULL));
    dup2(out[1], 1);
    dup2(out[3], 2);
    TRY(unshare(CLONE_NEWNS | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWCGROUP | (share_network ? 0 : CLONE_NEWNET)));
    if (!share_network)
        loopback();
    TRY(sethostname("floor", 5));
    TRY(mount("", "/", "", MS_REC | MS_PRIVATE, ""));
    int root = overlay(image);
    filesystem(root, "/proc", "proc", SAFE, "");
    filesystem(root, "/dev", "tmpfs", MS_NOSUID, "mode=755,size=64m");
    filesystem(root, "/dev/pts", "devpts", MS_NOSUID | MS_NOEXEC, "newinstance,gid=5,mode=620,ptmxmode=666");
    filesystem(root, "/dev/shm", "tmpfs", SAFE, "mode=1777,size=64m");
    filesystem(root, "/dev/mqueue", "mqueue", SAFE, "");
    filesystem(root, "/sys", "sysfs", MS_RDONLY | SAFE, "");
    filesystem(root, "/sys/fs/cgroup", "cgroup2", MS_RDONLY | SAFE, "");
    etc_files(root);
    devices(root);
    hide(root);
    TRY(fchdir(root));
    TRY(syscall(SYS_pivot_root, ".", "."));
    TRY(umount2(".", MNT_DETACH));
    TRY(chdir("/"));
    TRY(dup2(open("/dev/null", O_RDWR), 0));
    TRY(setrlimit(RLIMIT_NOFILE, &nofile));
    privileges();
    umask(022);
    syscall(SYS_close_range, 3, ~0U, 0);
    char *const argv[] = {"true", NULL}, *const envp[] = {"PATH=/bin", NULL};
    execve("/bin/true", argv, envp);
    die("execve");
}

static double start_to_exit(const char *image, int group) {
    struct timespec begin, end;
    int pidfd = -1, out[4], status;
    clock_gettime(CLOCK_MONOTONIC, &begin);
    TRY(pipe2(out, O_CLOEXEC));
    TRY(pipe2(out + 2, O_CLOEXEC));
    fcntl(out[1], F_SETPIPE_SZ, 1 << 20);
    fcntl(out[3], F_SETPIPE_SZ, 1 << 20);
    struct clone_args args = {.flags = CLONE_PIDFD | CLONE_INTO_CGROUP | CLONE_CLEAR_SIGHAND | CLONE_NEWPID,
                              .pidfd = (unsigned long)&pidfd, .exit_signal = SIGCHLD, .cgroup = group};
    long pid = syscall(SYS_clone3, &args, sizeof args);
    TRY(pid);
    if (pid == 0)
        child(image, out);
    TRY(waitpid(pid, &status, 0));
    clock_gettime(CLOCK_MONOTONIC, &end);
    if (status)
        fprintf(stderr, "status %x\n", status), exit(1);
    for (int i = 0; i < 4; i++)
        close(out[i]);
    close(pidfd);
    return (end.tv_sec - begin.tv_sec) * 1e6 + (end.tv_nsec - begin.tv_nsec) / 1e3;
}

static void make(const char *name, int directory) {
    char path[4096];
    snprintf(path, sizeof path, "%s/%s", base, name);
    if (directory)
        TRY(mkdir(path, 0755));
    else
        TRY(close(open(path, O_CREAT | O_WRONLY, 0644)));
}

static void shell(const char *format, const char *argument) {
    char command[8192];
    snprintf(command, sizeof command, format, argument);
    if (system(command))
        exit(1);
}

int main(int argc, char **argv) {
    const char *image = argc > 2 ? argv[1] : NULL, *mounted = argc > 3 ? argv[3] : "/sys/fs/cgroup";
    if (!image)
        return fprintf(stderr, "usage: floor IMAGE_DIR ROUNDS [CGROUP2_MOUNT] [nonet] [sync]\n"), 2;
    for (int i = 4; i < argc; i++) {
        share_network |= !strcmp(argv[i], "nonet");
        volatile_upper &= strcmp(argv[i], "sync") != 0;
    }
    if (!mkdtemp(base))
        die(base);
    snprintf(cgroup, sizeof cgroup, "%s/wherry-floor-%d", mounted, getpid());
    make("root", 1);
    make("hosts", 0);
    make("hostname", 0);
    make("resolv.conf", 0);
    for (int round = 0; round < atoi(argv[2]); round++) {
        make("upper", 1);
        make("work", 1);
        TRY(mkdir(cgroup, 0755));
        int group = open(cgroup, O_PATH | O_CLOEXEC);
        printf("%.0f\n", start_to_exit(image, group));
        close(group);
        TRY(rmdir(cgroup));
        shell("rm -rf %s/upper", base);
        shell("rm -rf %s/work", base);
    }
    shell("rm -rf %s", base);
    return 0;
}
