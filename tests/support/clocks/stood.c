/* A preloaded library: clocks of this process that have stood for a while, as some do while a machine
   sleeps, and others where they are set right. For how long is said from within, or in the file that
   STOOD names: a number of 8 bytes for each clock. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#define CLOCKS 16
#define SECOND 1000000000LL

static int64_t here[CLOCKS];
static volatile int64_t *stood_ns = here;

__attribute__((constructor)) static void look_into_file(void) {
    const char *path = getenv("STOOD");
    int fd = path ? open(path, O_RDONLY) : -1;
    if (fd < 0) return;
    void *found = mmap(0, sizeof here, PROT_READ, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED) stood_ns = found;
}

void clock_stood(int clock, int64_t ns) { here[clock] += ns; }

int clock_gettime(clockid_t clock, struct timespec *at) {
    static int (*real)(clockid_t, struct timespec *);
    if (!real) real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
    int result = real(clock, at);
    if (result == 0 && clock >= 0 && clock < CLOCKS && stood_ns[clock]) {
        int64_t ns = at->tv_sec * SECOND + at->tv_nsec - stood_ns[clock];
        at->tv_sec = ns / SECOND;
        at->tv_nsec = ns % SECOND;
    }
    return result;
}
