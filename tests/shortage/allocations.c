/* Refuses a process memory from its N-th request for some on, so many times: LD_PRELOAD it, with ALLOCATIONS naming
   a file that holds a `struct wanted`. Who changes the file has it counted anew, in the process that it names. */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

struct wanted {
    int64_t process; /* 0: nobody is refused anything */
    int64_t before;  /* requests that are granted; counted down, and on below 0 */
    int64_t refused; /* requests after those that are not */
};

extern void *__libc_malloc(size_t);
extern void *__libc_calloc(size_t, size_t);
extern void *__libc_realloc(void *, size_t);

static struct wanted *wanted;

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("ALLOCATIONS");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    void *found = fd < 0 ? MAP_FAILED : mmap(NULL, sizeof *wanted, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

    if (fd >= 0)
        close(fd);
    wanted = found == MAP_FAILED ? NULL : found;
}

static int is_refused(void)
{
    int64_t left;

    if (!wanted || !wanted->process || wanted->process != getpid())
        return 0;
    left = __atomic_fetch_sub(&wanted->before, 1, __ATOMIC_SEQ_CST);
    if (left > 0 || left <= -wanted->refused)
        return 0;
    errno = ENOMEM;
    return 1;
}

void *malloc(size_t size)
{
    return is_refused() ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return is_refused() ? NULL : __libc_calloc(count, size);
}

void *realloc(void *block, size_t size)
{
    return is_refused() ? NULL : __libc_realloc(block, size);
}
