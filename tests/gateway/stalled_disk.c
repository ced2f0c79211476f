/* For LD_PRELOAD: while the file STALL_FILE exists, every fsync and fdatasync first takes STALL_SECONDS, as on a disk that
   stalls. The file's name with `.seen` at its end appears when the first one begins. */

#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static void stall(void)
{
    const char *file = getenv("STALL_FILE"), *seconds = getenv("STALL_SECONDS");
    char seen[4096];
    struct timespec pause;
    double length;

    if (!file || !seconds || access(file, F_OK) != 0)
        return;
    snprintf(seen, sizeof seen, "%s.seen", file);
    close(open(seen, O_CREAT | O_WRONLY, 0600));
    length = atof(seconds);
    pause.tv_sec = (time_t) length;
    pause.tv_nsec = (long) ((length - (double) pause.tv_sec) * 1e9);
    nanosleep(&pause, NULL);
}

int fsync(int descriptor)
{
    stall();
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(descriptor);
}

int fdatasync(int descriptor)
{
    stall();
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(descriptor);
}
