/* The border of noise.cpp: whole messages of the Noise Protocol Framework in one call each. Plain C
 * below the marker, which cffi reads as well. Nothing here keeps anything between calls, takes a
 * lock, or calls back into Python. */
#ifndef QUORATE_NOISE_H
#define QUORATE_NOISE_H
#include <stddef.h>
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
/* CDEF */
typedef struct {            /* functions of the libsodium that PyNaCl has loaded */
    void *multiply;               /* crypto_scalarmult: X25519 */
    void *seal;                   /* ChaCha20-Poly1305, IETF */
    void *open;
} qp_noise_functions;

typedef struct {            /* one side of one run; the indices of keys: 0 ephemeral, 1 static */
    uint8_t hash[64];
    uint8_t chaining_key[64];
    uint8_t key[32];
    uint8_t secret[2][32];        /* ours */
    uint8_t public_key[2][32];    /* ours */
    uint8_t remote[2][32];        /* the other side's */
    uint8_t psks[4][32];
    uint8_t shared[32];           /* our ephemeral with their static key, if `has_shared` */
    uint64_t nonce;
    uint32_t psks_used;
    uint8_t keyed;                /* there is a key: what follows is encrypted */
    uint8_t psk_mode;
    uint8_t has_shared;           /* was computed beforehand; used once */
} qp_noise;

/* One message of `count` steps, each a byte: kind (0 e, 1 s, 2 psk, 3 a Diffie-Hellman), 4: the key
 * is derived, 8: our key is static, 16: theirs is. Both return the size of what was written to
 * `out`; -1 for a message that is cut off or not authentic, -2 for a degenerate key: the state is
 * spoilt then. Writing needs room for `size` + 48 bytes for each e and s + 16; reading
 * room for `size` bytes. */
int64_t qp_noise_write(const qp_noise_functions *functions, qp_noise *state, const uint8_t *steps,
                       uint32_t count, const uint8_t *payload, uint32_t size, uint8_t *out);
int64_t qp_noise_read(const qp_noise_functions *functions, qp_noise *state, const uint8_t *steps,
                      uint32_t count, const uint8_t *message, uint32_t size, uint8_t *out);
/* The two keys of the transport phase, one after the other, 64 bytes. */
void qp_noise_split(const qp_noise_functions *functions, const qp_noise *state, uint8_t *out);
/* What the sides of a run know before its first message; `state` is all zeros. Any of the keys, and
 * `shared`, may be null. `first_hash` has 64 bytes, `psks` 32 for each of `psk_count`, at most four.
 * `known`: the static keys that both sides know beforehand, in the pattern's order, a byte each: 0
 * ours, 1 theirs. `size` is at most 65535. */
void qp_noise_begin(const qp_noise_functions *functions, qp_noise *state, const uint8_t *first_hash,
                    const uint8_t *prologue, uint32_t size, const uint8_t *static_secret,
                    const uint8_t *static_public, const uint8_t *remote_static,
                    const uint8_t *ephemeral_secret, const uint8_t *ephemeral_public,
                    const uint8_t *shared, const uint8_t *psks, uint32_t psk_count,
                    const uint8_t *known, uint32_t known_count);
void qp_noise_erase(qp_noise *state);
/* Keyed BLAKE2b-32 under one key of 32 bytes, of `count` labels of `size` bytes each: `count` times
 * 32 bytes. */
void qp_derive(const uint8_t *key, const uint8_t *labels, uint32_t count, uint32_t size,
               uint8_t *out);
/* END */
#ifdef __cplusplus
}
#endif
#endif
