// Waiting for a socket without sleeping: what transport/busy_poll.py does in slices.
#include "busy_poll.h"

#include <poll.h>
#include <sched.h>
#include <sys/resource.h>
#include <time.h>

namespace {

int64_t now_ns() {
    timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<int64_t>(now.tv_sec) * 1'000'000'000 + now.tv_nsec;
}

// How often this thread had to leave its processor to another.
long switches() {
    rusage used;
    getrusage(RUSAGE_THREAD, &used);
    return used.ru_nivcsw;
}

}  // namespace

int qp_attend(int fd, uint32_t slice_us, uint32_t stolen_us) {
    pollfd watched{fd, POLLIN, 0};
    const long before = switches();
    int64_t last = now_ns();
    const int64_t end = last + int64_t{1000} * slice_us;
    for (;;) {
        // An error is something to read too: reading tells which.
        if (poll(&watched, 1, 0) != 0) return 1;
        // Comes back at once where nobody else waits for this processor.
        sched_yield();
        const int64_t now = now_ns();
        // Time is lost to interrupts and hypervisors as well, which is nobody's need.
        if (now - last > int64_t{1000} * stolen_us && switches() != before) return -1;
        if (now >= end) return 0;
        last = now;
    }
}
