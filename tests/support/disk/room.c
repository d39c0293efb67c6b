/* A preloaded library: the disk of this process has room for so many steps, and then it is full, or
   the process is killed. A step is whatever makes, fills, shrinks, renames or removes a regular
   file, or waits for the disk. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <unistd.h>

static long steps_left = -1; /* -1: room without end */
static int is_killed;
static int is_hit;

void room_for(long steps, int killed) {
    steps_left = steps;
    is_killed = killed;
    is_hit = 0;
}

int room_hit(void) { return is_hit; }

/* Whether this step finds no room. */
static int no_room(void) {
    if (steps_left < 0) return 0;
    if (steps_left > 0) {
        steps_left--;
        return 0;
    }
    is_hit = 1;
    if (is_killed) _exit(7);
    return 1;
}

static int regular(int fd) {
    struct stat st;
    return fstat(fd, &st) == 0 && S_ISREG(st.st_mode);
}

static int full(void) {
    errno = ENOSPC;
    return -1;
}

#define REAL(result, name, ...)                                                        \
    static result (*real)(__VA_ARGS__);                                                \
    if (!real) real = (result(*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

#define OPEN(function)                                                                 \
    int function(const char *path, int flags, ...) {                                   \
        REAL(int, #function, const char *, int, ...);                                  \
        mode_t mode = 0;                                                               \
        if (flags & O_CREAT) {                                                         \
            va_list rest;                                                              \
            va_start(rest, flags);                                                     \
            mode = va_arg(rest, mode_t);                                               \
            va_end(rest);                                                              \
            if (access(path, F_OK) != 0 && no_room()) return full();                   \
        }                                                                              \
        return real(path, flags, mode);                                                \
    }
OPEN(open)
OPEN(open64)

/* What still fits is written: half of it. */
ssize_t write(int fd, const void *data, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    if (!regular(fd) || !no_room()) return real(fd, data, size);
    return size > 1 && real(fd, data, size / 2) > 0 ? (ssize_t)(size / 2) : full();
}

#define PWRITE(function, offset)                                                       \
    ssize_t function(int fd, const void *data, size_t size, offset at) {               \
        REAL(ssize_t, #function, int, const void *, size_t, offset);                   \
        if (!regular(fd) || !no_room()) return real(fd, data, size, at);               \
        if (size > 1) real(fd, data, size / 2, at);                                    \
        return full();                                                                 \
    }
PWRITE(pwrite, off_t)
PWRITE(pwrite64, off64_t)

/* Nothing here has to outlive a loss of power, so nobody waits for the disk. */
int fsync(int fd) {
    (void)fd;
    return no_room() ? full() : 0;
}

int fdatasync(int fd) { return fsync(fd); }

/* These need no room; but the process may be killed before them. */
int ftruncate(int fd, off_t size) {
    REAL(int, "ftruncate", int, off_t);
    no_room();
    return real(fd, size);
}

int ftruncate64(int fd, off64_t size) {
    REAL(int, "ftruncate64", int, off64_t);
    no_room();
    return real(fd, size);
}

int unlink(const char *path) {
    REAL(int, "unlink", const char *);
    no_room();
    return real(path);
}

int rename(const char *from, const char *to) {
    REAL(int, "rename", const char *, const char *);
    no_room();
    return real(from, to);
}
