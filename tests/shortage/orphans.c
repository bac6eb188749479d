/* orphans COUNT: has so many children, prints "up", and leaves them, ending with 5, when its standard input ends.
 * orphans COUNT reaped: has them be orphans, who all end at once then, while it goes on.
 */

#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

static void have_children(int count, const int ends[2])
{
    char byte;

    for (int made = 0; made < count; made++) {
        pid_t pid = fork();

        if (pid < 0)
            exit(1);
        if (pid == 0) {
            close(ends[1]);
            _exit(read(ends[0], &byte, 1) != 0);
        }
    }
}

int main(int argc, char **argv)
{
    int ends[2], count = atoi(argv[1]);
    char byte;

    if (pipe(ends) < 0)
        return 1;
    if (argc > 2) {
        pid_t parent = fork();

        if (parent == 0) {
            have_children(count, ends);
            _exit(0);
        }
        waitpid(parent, NULL, 0);
    } else {
        have_children(count, ends);
    }
    puts("up");
    fflush(stdout);
    while (read(0, &byte, 1) > 0)
        ;
    if (argc == 2)
        return 5;
    close(ends[1]);
    for (;;)
        pause();
}
