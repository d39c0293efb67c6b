/* The border between Python and C++. Everything below the marker is read by cffi as well, so it is
 * plain C without preprocessor lines. Functions that return int64_t return a negative errno when
 * they fail. Every function takes the pump's lock; none of them calls back into Python. */
#ifndef QUORATE_ABI_H
#define QUORATE_ABI_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
/* CDEF */
typedef struct qp_pump qp_pump;

typedef struct {            /* functions of the libsodium that PyNaCl has loaded */
    void *chacha20_encrypt;       /* IETF, a nonce of 12 bytes */
    void *chacha20_decrypt;
    void *xchacha20_subkey;       /* secretstream's init_pull, see sodium.h */
    void *aegis256_encrypt;
    void *aegis256_decrypt;
    void *blake2b;
} qp_sodium;

typedef struct {
    uint32_t datagram_size_max;   /* bytes of a control datagram */
    uint32_t sealed_size_max;     /* bytes of a bulk datagram */
    uint32_t send_buffer;         /* bytes a channel takes before the window lets them go */
    uint32_t send_window;         /* bytes in flight of a channel */
    uint32_t receive_buffer;      /* bytes a channel holds for a slow reader, reordered ones too */
    uint64_t receive_budget;      /* the same over all channels */
    uint32_t socket_buffer;       /* SO_RCVBUF and SO_SNDBUF */
    uint32_t planes_max;
    uint32_t incoming_max;        /* channels of a plane that the peer opened */
    uint32_t outgoing_max;        /* channels of a plane that this side opened */
    uint32_t output_max;          /* datagrams that wait for the socket, or for collect() */
    uint32_t offload;             /* 0: no segmentation or receive offload */
} qp_config;

typedef struct {            /* 18 bytes: an IPv6 address, IPv4 mapped into it, and the port */
    uint32_t offset;
    uint16_t size;
    uint8_t address[18];
} qp_datagram;

typedef struct {            /* a batch; valid until the next call that fills one of its kind */
    const uint8_t *data;
    const qp_datagram *index;
    size_t data_size;
    uint32_t count;
    uint32_t events;        /* channels with events and planes with paths to be polled */
} qp_batch;

typedef struct {
    uint8_t receive_cid[8];
    uint8_t send_cid[8];
    uint8_t send_key[32];
    uint8_t send_header_key[32];
    uint8_t receive_key[32];
    uint8_t receive_header_key[32];
    uint32_t suite;
} qp_keys;

typedef struct {
    int64_t channel;
    int64_t plane;
    int32_t kind;
    int32_t reason;
} qp_event;

typedef struct {            /* a plane heard from another address than it sends to */
    int64_t plane;
    uint8_t address[18];
    uint16_t size;          /* of the datagram that told */
} qp_path;

typedef struct {
    uint64_t control_received;
    uint64_t bulk_opened;
    uint64_t bulk_refused;        /* did not open, or was seen before */
    uint64_t bulk_sealed;
    uint64_t dropped_sends;       /* the socket stayed full */
    uint64_t refused_channels;    /* SYNs over the bound */
    uint64_t bytes_opened;
    uint64_t bytes_sealed;
    uint64_t receive_calls;       /* system calls */
    uint64_t receive_messages;    /* what the kernel handed over, before it is cut up */
    uint64_t send_calls;
    uint64_t send_messages;
    uint64_t buffered;            /* bytes held for readers, now */
    uint64_t buffered_max;
    uint64_t held;                /* memory of what waits to be read or written, and spare */
    uint32_t planes;
    uint32_t channels;
    uint32_t segmentation;        /* offload in use */
    uint32_t narrow;              /* addresses that get single datagrams: their way refused more */
    uint32_t coalescing;
} qp_counters;

typedef struct {
    uint64_t sealed;              /* datagrams under the current keys */
    uint64_t bytes_sealed;        /* over all keys, as all below */
    uint64_t opened;
    uint64_t bytes_opened;
    double heard_at;              /* when a datagram opened last; negative: never */
    uint32_t channels;
    uint32_t incoming;
} qp_plane_figures;

typedef struct {
    uint64_t window;              /* congestion window, bytes */
    uint64_t in_flight;
    uint64_t send_buffered;
    uint64_t receive_buffered;
    uint64_t reordered;
    uint64_t peer_window;
    uint32_t rtt_ms;
    uint32_t rto_ms;
    uint32_t queueing_delay_us;
    uint32_t slow_start;
    int32_t clock_drift;
    uint32_t connected;
    uint32_t slowdowns;           /* of LEDBAT++, the initial one included */
    uint32_t packet_blocks;       /* packets that memory was taken for */
} qp_channel_figures;

qp_pump *qp_new(const qp_sodium *sodium, const qp_config *config, int fd, const uint8_t *seed,
                double now, int64_t *error);
void qp_free(qp_pump *pump);
int64_t qp_receive(qp_pump *pump, double now, uint32_t control_max, uint32_t bulk_max,
                   qp_batch *control);
int64_t qp_inject(qp_pump *pump, double now, const uint8_t *data, const qp_datagram *index,
                  uint32_t count, qp_batch *control);
int64_t qp_send(qp_pump *pump, const uint8_t *data, const qp_datagram *index, uint32_t count);
int64_t qp_collect(qp_pump *pump, qp_batch *output);
int64_t qp_handle_timeout(qp_pump *pump, double now);
double qp_next_timeout(qp_pump *pump);
int64_t qp_add_plane(qp_pump *pump, const qp_keys *keys, const uint8_t *address, int initiator);
int64_t qp_add_bare_plane(qp_pump *pump, const uint8_t *address);
int64_t qp_move_plane(qp_pump *pump, int64_t plane, const uint8_t *address);
int64_t qp_rekey_plane(qp_pump *pump, int64_t plane, const qp_keys *keys, int send_now,
                       double retire_s);
int64_t qp_switch_plane(qp_pump *pump, int64_t plane);
int64_t qp_remove_plane(qp_pump *pump, int64_t plane);
int64_t qp_open_channel(qp_pump *pump, int64_t plane);
int64_t qp_write(qp_pump *pump, int64_t channel, const uint8_t *data, size_t size);
int64_t qp_read(qp_pump *pump, int64_t channel, uint8_t *data, size_t size);
int64_t qp_readable(qp_pump *pump, int64_t channel);
int64_t qp_finish(qp_pump *pump, int64_t channel);
int64_t qp_close_channel(qp_pump *pump, int64_t channel, int abort);
int64_t qp_poll_events(qp_pump *pump, qp_event *events, uint32_t count);
int64_t qp_poll_paths(qp_pump *pump, qp_path *paths, uint32_t count);
int64_t qp_counters_get(qp_pump *pump, qp_counters *out);
int64_t qp_plane_figures_get(qp_pump *pump, int64_t plane, qp_plane_figures *out);
int64_t qp_channel_figures_get(qp_pump *pump, int64_t channel, qp_channel_figures *out);
int64_t qp_nearest(uint64_t low, uint32_t bits, int64_t largest);
/* END */
#ifdef __cplusplus
}
#endif
#endif
