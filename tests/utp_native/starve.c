/* Preloaded by test_memory.py: one allocation of the native module fails. Only those that it is
   prepared for: operator new, and the pieces of queues. */
#include <stddef.h>
#include <stdint.h>

extern void *__libc_malloc(size_t size);

static uintptr_t first[2], last[2]; /* where the C++ library and the module stand */
static long left = -1;              /* allocations until one fails; none will if negative */

void starve_within(int which, uintptr_t begin, uintptr_t end) {
    first[which] = begin;
    last[which] = end;
}

void starve_after(long count) { left = count; }

long starve_left(void) { return left; }

static int within(int which, uintptr_t caller) {
    return caller >= first[which] && caller < last[which];
}

void *malloc(size_t size) {
    const uintptr_t caller = (uintptr_t)__builtin_return_address(0);
    if (left >= 0) {
        const int piece = size >= 4096 && !(size & (size - 1)) && within(1, caller);
        if ((piece || within(0, caller)) && left-- == 0) return NULL;
    }
    return __libc_malloc(size);
}
