/* The border of sealed.cpp: one sealed datagram of the messages plane a call. Plain C below the
 * marker, which cffi reads as well. Nothing here takes a lock or calls back into Python. */
#ifndef QUORATE_SEALED_H
#define QUORATE_SEALED_H
#include <stddef.h>
#include <stdint.h>

#include "abi.h"
#ifdef __cplusplus
extern "C" {
#endif
/* CDEF */
typedef struct {            /* one direction of one plane; a caller reads the plain fields only */
    void *work;                   /* the AEAD's function: sealing or opening */
    uint64_t mask[8];             /* the header key, as BLAKE2b has it after its first block */
    uint8_t key[32];              /* of that function, which is not the epoch's: see sodium.h */
    uint8_t cid[8];
    uint32_t nonce_size;
    uint32_t tag_size;
    const char *out;              /* what the last call made; this thread's, until its next call */
    uint64_t next;                /* sealing: the next number */
    int64_t acknowledged;         /* the largest the peer is known to have opened; -1: none */
    uint32_t counter_size_min;
    int64_t largest;              /* opening: the largest number opened; -1: none */
    uint64_t window;              /* bit i: `largest` - i was opened */
    uint32_t newest;              /* what opened last had the largest number */
    uint32_t erased;
} qp_direction;

/* `opens`: 0 to seal with, 1 to open with. 0, or -1 for a suite that does not exist. */
int64_t qp_direction_init(const qp_sodium *functions, qp_direction *direction, int opens,
                          uint32_t suite, const uint8_t *cid, const uint8_t *key,
                          const uint8_t *header_key);
void qp_direction_erase(qp_direction *direction);
/* Both return the size of what `out` points to. Sealing: -1 where the keys are erased, -2 where all
 * numbers are used, -3 for what would be longer than a datagram may be. Opening: -1 for whatever
 * does not open; nothing has changed then. */
int64_t qp_seal(qp_direction *direction, const uint8_t *payload, size_t size);
int64_t qp_open_untrusted(qp_direction *direction, const uint8_t *datagram, size_t size);
/* END */
#ifdef __cplusplus
}
#endif
#endif
