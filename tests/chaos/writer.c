/* A container's only process: numbered, checksummed lines at 1 kHz, and a count of them outside its pipe.
 *
 *   writer COUNT SEED CODE
 *
 * COUNT is a file that keeps how many lines were written whole: what the log must have, whoever died meanwhile.
 * A line is its number and the checksum of that number and SEED. SIGTERM has it write "end NUMBER" and exit with
 * CODE; SIGUSR1 has it take memory until the kernel ends it.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile sig_atomic_t asked;

static void on_signal(int number) { asked = number; }

static uint32_t checksum(uint32_t seed, uint32_t number)
{
    uint32_t hash = 2166136261u ^ seed;
    for (int shift = 0; shift < 32; shift += 8)
        hash = (hash ^ (number >> shift & 255)) * 16777619u;
    return hash;
}

static void write_all(const char *text, size_t length)
{
    while (length) {
        ssize_t written = write(1, text, length);
        if (written > 0) {
            text += written;
            length -= written;
        }
    }
}

static void take_memory(void)
{
    for (;;)
        memset(malloc(1 << 20), 1, 1 << 20);
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 99;
    int file = open(argv[1], O_RDWR);
    if (file < 0)
        return 98;
    uint32_t *count = mmap(NULL, 4, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (count == MAP_FAILED)
        return 97;
    struct sigaction action = {.sa_handler = on_signal, .sa_flags = SA_RESTART};
    sigaction(SIGTERM, &action, NULL);
    sigaction(SIGUSR1, &action, NULL);
    uint32_t seed = strtoul(argv[2], NULL, 10), number = 0;
    struct timespec pause = {0, 1000000};
    char line[64];
    for (; asked != SIGTERM; *count = ++number) {
        if (asked == SIGUSR1)
            take_memory();
        write_all(line, sprintf(line, "%u %08x\n", number, checksum(seed, number)));
        nanosleep(&pause, NULL);
    }
    write_all(line, sprintf(line, "end %u\n", number));
    return atoi(argv[3]);
}
