/* Faults of a machine, for one process that is started with this library preloaded: its wall clock is ahead, its disk
   syncs slowly. Both are read from the file named by MACHINE_FAULTS, which a test changes while the process runs:
   two 64-bit integers, seconds by which the clock is ahead and milliseconds that a sync takes longer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t none[2];
static volatile int64_t *faults = none;

__attribute__((constructor)) static void open_faults(void) {
    const char *path = getenv("MACHINE_FAULTS");
    int file = path ? open(path, O_RDONLY) : -1;
    if (file < 0) return;
    void *mapped = mmap(0, sizeof none, PROT_READ, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) faults = mapped;
    close(file);
}

static void *original(const char *name) { return dlsym(RTLD_NEXT, name); }

int gettimeofday(struct timeval *now, void *zone) {
    static int (*call)(struct timeval *, void *);
    if (!call) call = original("gettimeofday");
    int result = call(now, zone);
    if (now) now->tv_sec += faults[0];
    return result;
}

int clock_gettime(clockid_t clock, struct timespec *now) {
    static int (*call)(clockid_t, struct timespec *);
    if (!call) call = original("clock_gettime");
    int result = call(clock, now);
    if (clock == CLOCK_REALTIME && now) now->tv_sec += faults[0];
    return result;
}

time_t time(time_t *result) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result) *result = now.tv_sec;
    return now.tv_sec;
}

static void stall(void) {
    struct timespec pause = {faults[1] / 1000, faults[1] % 1000 * 1000000};
    if (faults[1]) nanosleep(&pause, 0);
}

int fdatasync(int file) {
    static int (*call)(int);
    if (!call) call = original("fdatasync");
    stall();
    return call(file);
}

int fsync(int file) {
    static int (*call)(int);
    if (!call) call = original("fsync");
    stall();
    return call(file);
}
