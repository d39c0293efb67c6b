// BLAKE2b (RFC 7693) cut down to the one use it has here: 16 bytes of keyed hash over 16 bytes, the
// mask of a datagram's counter. Keyed BLAKE2b hashes the padded key as a block of its own, the same
// for every datagram; its result is kept, and all words of the message but two are zero. libsodium
// can do neither. tests/utp_native/test_seal.py holds it to libsodium's.
#pragma once

#include <cstdint>
#include <cstring>
#include <utility>

#include "erase.h"

namespace quorate {

namespace blake2b {

constexpr uint64_t kIv[8] = {
    0x6a09e667f3bcc908, 0xbb67ae8584caa73b, 0x3c6ef372fe94f82b, 0xa54ff53a5f1d36f1,
    0x510e527fade682d1, 0x9b05688c2b3e6c1f, 0x1f83d9abfb41bd6b, 0x5be0cd19137e2179,
};
constexpr uint8_t kSigma[10][16] = {
    {0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15},
    {14, 10, 4, 8, 9, 15, 13, 6, 1, 12, 0, 2, 11, 7, 5, 3},
    {11, 8, 12, 0, 5, 2, 15, 13, 10, 14, 3, 6, 7, 1, 9, 4},
    {7, 9, 3, 1, 13, 12, 11, 14, 2, 6, 5, 10, 4, 0, 15, 8},
    {9, 0, 5, 7, 2, 4, 10, 15, 14, 1, 11, 12, 6, 8, 3, 13},
    {2, 12, 6, 10, 0, 11, 8, 3, 4, 13, 7, 5, 15, 14, 1, 9},
    {12, 5, 1, 15, 14, 13, 4, 10, 0, 7, 6, 3, 9, 2, 8, 11},
    {13, 11, 7, 14, 12, 1, 3, 9, 5, 0, 15, 4, 8, 6, 2, 10},
    {6, 15, 14, 9, 11, 3, 0, 8, 12, 2, 13, 7, 1, 4, 10, 5},
    {10, 2, 8, 4, 7, 6, 1, 5, 15, 11, 9, 14, 3, 12, 13, 0},
};

inline uint64_t load(const uint8_t *p) {
    uint64_t word = 0;
    for (int i = 7; i >= 0; i--) word = word << 8 | p[i];
    return word;
}
inline void store(uint8_t *p, uint64_t word) {
    for (int i = 0; i < 8; i++) p[i] = static_cast<uint8_t>(word >> (8 * i));
}
inline uint64_t rotate(uint64_t word, int by) { return word >> by | word << (64 - by); }

// `Words`: of the message; those behind are zero, and adding them is left out.
template <int Words, int A, int B, int C, int D, int X, int Y>
inline __attribute__((always_inline)) void mix(uint64_t *v, const uint64_t *m) {
    v[A] += v[B];
    if constexpr (X < Words) v[A] += m[X];
    v[D] = rotate(v[D] ^ v[A], 32);
    v[C] += v[D];
    v[B] = rotate(v[B] ^ v[C], 24);
    v[A] += v[B];
    if constexpr (Y < Words) v[A] += m[Y];
    v[D] = rotate(v[D] ^ v[A], 16);
    v[C] += v[D];
    v[B] = rotate(v[B] ^ v[C], 63);
}

template <int Words, int Round>
inline __attribute__((always_inline)) void round(uint64_t *v, const uint64_t *m) {
    constexpr const uint8_t *s = kSigma[Round % 10];
    mix<Words, 0, 4, 8, 12, s[0], s[1]>(v, m);
    mix<Words, 1, 5, 9, 13, s[2], s[3]>(v, m);
    mix<Words, 2, 6, 10, 14, s[4], s[5]>(v, m);
    mix<Words, 3, 7, 11, 15, s[6], s[7]>(v, m);
    mix<Words, 0, 5, 10, 15, s[8], s[9]>(v, m);
    mix<Words, 1, 6, 11, 12, s[10], s[11]>(v, m);
    mix<Words, 2, 7, 8, 13, s[12], s[13]>(v, m);
    mix<Words, 3, 4, 9, 14, s[14], s[15]>(v, m);
}

template <int Words, int... Rounds>
inline __attribute__((always_inline)) void rounds(uint64_t *v, const uint64_t *m,
                                                  std::integer_sequence<int, Rounds...>) {
    (round<Words, Rounds>(v, m), ...);
}

template <int Words>
inline void compress(uint64_t *h, const uint64_t *m, uint64_t hashed, bool last) {
    uint64_t v[16];
    for (int i = 0; i < 8; i++) {
        v[i] = h[i];
        v[i + 8] = kIv[i];
    }
    v[12] ^= hashed;
    if (last) v[14] = ~v[14];
    rounds<Words>(v, m, std::make_integer_sequence<int, 12>());
    for (int i = 0; i < 8; i++) h[i] ^= v[i] ^ v[i + 8];
}

}  // namespace blake2b

class Mask {
  public:
    static constexpr uint32_t kSize = 16, kKeySize = 32;

    Mask() = default;
    ~Mask() { wipe(); }
    void wipe() { erase(state_, sizeof state_); }

    void set_key(const uint8_t *key) { absorb(state_, key); }

    // The mask of a datagram whose last 16 bytes are `sample`.
    void make(uint8_t *mask, const uint8_t *sample) const { make(state_, mask, sample); }

    // The same for a state of eight words that is kept elsewhere.
    static void absorb(uint64_t *state, const uint8_t *key) {
        uint64_t block[4];
        for (int i = 0; i < 4; i++) block[i] = blake2b::load(key + 8 * i);
        for (int i = 0; i < 8; i++) state[i] = blake2b::kIv[i];
        state[0] ^= 0x01010000 | kKeySize << 8 | kSize;
        blake2b::compress<4>(state, block, kBlock, false);
        erase(block, sizeof block);
    }
    static void make(const uint64_t *state, uint8_t *mask, const uint8_t *sample) {
        uint64_t h[8];
        std::memcpy(h, state, sizeof h);
        const uint64_t message[2] = {blake2b::load(sample), blake2b::load(sample + 8)};
        blake2b::compress<2>(h, message, kBlock + kSize, true);
        blake2b::store(mask, h[0]);
        blake2b::store(mask + 8, h[1]);
    }

  private:
    static constexpr uint64_t kBlock = 128;
    uint64_t state_[8] = {};
};

}  // namespace quorate
