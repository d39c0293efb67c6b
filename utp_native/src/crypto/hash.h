// BLAKE2b-512 and HMAC over it (RFC 7693, RFC 2104), on the compression of blake2b.h. libsodium's
// takes more time than this one for the short inputs of a handshake, and cannot keep what a
// padded key has made of the state. tests/utp_native/test_noise_native.py holds it to hashlib's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstring>

#include "blake2b.h"
#include "erase.h"

namespace quorate {

class Blake2b512 {
  public:
    static constexpr size_t kSize = 64, kBlock = 128, kKeySize = 32;

    explicit Blake2b512(uint32_t size = kSize) {
        for (int i = 0; i < 8; i++) h_[i] = blake2b::kIv[i];
        h_[0] ^= 0x01010000 | size;
    }
    // With BLAKE2b's own key of 32 bytes, and a digest of `size`.
    Blake2b512(uint32_t size, const uint8_t *key) : Blake2b512(size) {
        h_[0] ^= kKeySize << 8;
        std::memset(block_, 0, kBlock);
        std::memcpy(block_, key, kKeySize);
        held_ = kBlock;
    }
    Blake2b512(const Blake2b512 &) = default;
    Blake2b512 &operator=(const Blake2b512 &) = default;
    ~Blake2b512() {
        erase(h_, sizeof h_);
        erase(block_, held_);
    }

    void update(const uint8_t *data, size_t size) {
        // The last block is compressed with a flag, so a full one waits for what follows.
        while (size) {
            if (held_ == kBlock) {
                compress(false);
                held_ = 0;
            }
            const size_t taken = size < kBlock - held_ ? size : kBlock - held_;
            std::memcpy(block_ + held_, data, taken);
            held_ += taken;
            data += taken;
            size -= taken;
        }
    }

    // More follows for certain: a full block need not wait, and copies go on from behind it.
    void settle() {
        compress(false);
        held_ = 0;
    }

    // The first `size` bytes of the digest, a multiple of eight.
    void finish(uint8_t *out, size_t size = kSize) {
        std::memset(block_ + held_, 0, kBlock - held_);
        compress(true);
        for (size_t i = 0; i < size / 8; i++) blake2b::store(out + 8 * i, h_[i]);
    }

  private:
    void compress(bool last) {
        uint64_t words[16];
        std::memcpy(words, block_, sizeof words);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
        for (uint64_t &word : words) word = __builtin_bswap64(word);
#endif
        hashed_ += held_;
        blake2b::compress<16>(h_, words, hashed_, last);
    }

    uint64_t h_[8];
    uint64_t hashed_ = 0;
    size_t held_ = 0;
    alignas(8) uint8_t block_[kBlock];
};

// HMAC under one key of 64 bytes, half a block, for as many messages as are wanted.
class Hmac {
  public:
    // Messages are not empty, unless it is said: then nothing follows the inner pad.
    explicit Hmac(const uint8_t *key, bool empty = false) {
        pad(inner_, key, 0x36);
        if (!empty) inner_.settle();
        pad(outer_, key, 0x5c);
        outer_.settle();
    }
    // `out` may be the key, or a part of the message.
    void make(uint8_t *out, const uint8_t *first, size_t first_size, const uint8_t *second = nullptr,
              size_t second_size = 0) const {
        uint8_t digest[Blake2b512::kSize];
        Blake2b512 inner = inner_;
        inner.update(first, first_size);
        inner.update(second, second_size);
        inner.finish(digest);
        Blake2b512 outer = outer_;
        outer.update(digest, sizeof digest);
        outer.finish(out);
        erase(digest, sizeof digest);
    }

  private:
    static void pad(Blake2b512 &state, const uint8_t *key, uint8_t with) {
        uint8_t block[Blake2b512::kBlock];
        std::memset(block, with, Blake2b512::kBlock);
        for (size_t i = 0; i < Blake2b512::kSize; i++) block[i] = key[i] ^ with;
        state.update(block, Blake2b512::kBlock);
        erase(block, sizeof block);
    }
    Blake2b512 inner_, outer_;
};

}  // namespace quorate
