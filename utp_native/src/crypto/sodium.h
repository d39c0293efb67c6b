// libsodium's functions, by the addresses that PyNaCl's own cffi module gives out: one libsodium in
// the process, initialised once, and nothing to link against.
#pragma once

#include <cstdint>
#include <cstring>

#include "abi.h"
#include "erase.h"

namespace quorate {

constexpr uint32_t kKeySize = 32;
constexpr uint32_t kSuiteXChaCha20 = 1;
constexpr uint32_t kSuiteAegis256 = 2;

using Encrypt = int (*)(unsigned char *c, unsigned long long *clen, const unsigned char *m,
                        unsigned long long mlen, const unsigned char *ad, unsigned long long adlen,
                        const unsigned char *nsec, const unsigned char *npub,
                        const unsigned char *k);
using Decrypt = int (*)(unsigned char *m, unsigned long long *mlen, unsigned char *nsec,
                        const unsigned char *c, unsigned long long clen, const unsigned char *ad,
                        unsigned long long adlen, const unsigned char *npub,
                        const unsigned char *k);
using Blake2b = int (*)(unsigned char *out, size_t outlen, const unsigned char *in,
                        unsigned long long inlen, const unsigned char *key, size_t keylen,
                        const unsigned char *salt, const unsigned char *personal);

// What libsodium keeps of a secret stream; the key is HChaCha20 of the header's first 16 bytes.
struct SecretStream {
    unsigned char key[32];
    unsigned char rest[32];
};
using Subkey = int (*)(SecretStream *state, const unsigned char *header, const unsigned char *key);

struct Suite {
    Encrypt encrypt = nullptr;
    Decrypt decrypt = nullptr;
    uint32_t nonce_size = 0;
    uint32_t tag_size = 0;  // libsodium's AEGIS-256 has tags of 32 bytes
    Subkey subkey = nullptr;
    uint32_t block_size = 1;  // what a byte more than a multiple of it costs a whole one of

    // The most plaintext to put into `size` bytes of it: a block of ChaCha20 for a few bytes at the
    // end costs a ninth of sealing a datagram.
    uint32_t worthwhile(uint32_t size) const {
        const uint32_t rest = size % block_size;
        return rest * 8 <= block_size ? size - rest : size;
    }

    // XChaCha20 derives a key of ChaCha20 from the first 16 bytes of a nonce. Ours count in the last
    // eight, so all datagrams of an epoch have the same, and it is derived once. What libsodium
    // offers for it is the start of a secret stream; native.py checks that it does what is meant.
    void set_key(uint8_t *to, const uint8_t *key) const {
        if (!subkey) {
            std::memcpy(to, key, kKeySize);
            return;
        }
        const unsigned char header[24] = {};
        SecretStream stream;
        subkey(&stream, header, key);
        std::memcpy(to, stream.key, kKeySize);
        erase(&stream, sizeof stream);
    }
};

struct Sodium {
    Suite xchacha20, aegis256;
    Blake2b blake2b = nullptr;

    Sodium() = default;
    explicit Sodium(const qp_sodium &from)
        : xchacha20{reinterpret_cast<Encrypt>(from.chacha20_encrypt),
                    reinterpret_cast<Decrypt>(from.chacha20_decrypt), 12, 16,
                    reinterpret_cast<Subkey>(from.xchacha20_subkey), 64},
          aegis256{reinterpret_cast<Encrypt>(from.aegis256_encrypt),
                   reinterpret_cast<Decrypt>(from.aegis256_decrypt), 32, 32, nullptr, 1},
          blake2b(reinterpret_cast<Blake2b>(from.blake2b)) {}

    const Suite *suite(uint32_t number) const {
        if (number == kSuiteXChaCha20) return &xchacha20;
        if (number == kSuiteAegis256) return &aegis256;
        return nullptr;
    }
};

// A stream of random numbers from a seed: keyed BLAKE2b in counter mode. libutp draws connection
// ids and first sequence numbers from it, so a seed makes a whole run repeatable.
class Random {
  public:
    Random(Blake2b hash, const uint8_t *seed) : hash_(hash) {
        for (uint32_t i = 0; i < kKeySize; i++) key_[i] = seed[i];
    }
    ~Random() { erase(key_, sizeof key_); }
    uint32_t next() {
        if (used_ == kWords) {
            hash_(reinterpret_cast<unsigned char *>(block_), sizeof block_,
                  reinterpret_cast<const unsigned char *>(&counter_), sizeof counter_, key_,
                  kKeySize, nullptr, nullptr);
            counter_++;
            used_ = 0;
        }
        return block_[used_++];
    }

  private:
    static constexpr uint32_t kWords = 16;
    Blake2b hash_;
    uint8_t key_[kKeySize];
    uint64_t counter_ = 0;
    uint32_t block_[kWords] = {};
    uint32_t used_ = kWords;
};

}  // namespace quorate
