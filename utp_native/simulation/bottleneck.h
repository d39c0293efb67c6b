/* A bottleneck in virtual time: flows of one libutp, and one that behaves like CUBIC, through a
 * first-in-first-out queue. Plain C for cffi; built once with our fork and once with the pinned
 * sources as they are. */
#ifndef QUORATE_BOTTLENECK_H
#define QUORATE_BOTTLENECK_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
/* CDEF */
typedef struct {
    uint64_t rate_bps;        /* of the queue; 0: no queue */
    uint32_t rtt_us;          /* without a queue, half of it each way */
    uint64_t buffer_bytes;    /* of the queue; what does not fit is dropped */
    double loss;              /* of datagrams that carry data, at random */
    uint64_t seed;
    double duration_s;
    double slot_s;            /* of the results */
    uint32_t packet_size;     /* of a uTP packet, header and all */
    uint32_t overhead;        /* bytes on the wire besides it: seal, UDP, IP */
} qb_config;

typedef struct {
    uint32_t cubic;           /* 0: libutp */
    double start_s;
    double stop_s;            /* a CUBIC-like flow stops then; 0: never */
    uint64_t bytes;           /* a libutp flow ends after so many; 0: never */
} qb_flow;

typedef struct {
    double finished_s;        /* when the last byte was delivered; negative: never */
    uint64_t delivered;       /* bytes to the reader */
    uint64_t dropped;         /* datagrams, by the queue or at random */
    uint32_t slowdowns;       /* of LEDBAT++ */
} qb_flow_result;

/* Fills results[flows], wire_bytes[flows][slots] (what left the queue) and queue_us[slots] (how
 * long the queue was at the end of each slot). Returns 0, or a negative errno. */
int qb_run(const qb_config *config, const qb_flow *flows, uint32_t count, qb_flow_result *results,
           uint64_t *wire_bytes, uint32_t *queue_us, uint32_t slots);
/* END */
#ifdef __cplusplus
}
#endif
#endif
