// One direction of one plane, sealed: `connection id (8) | counter, masked | ciphertext | tag`.
// The layout is docs/protocol/presence.md's; transport/core/crypto/aead.py is the same in Python.
#pragma once

#include <cstdint>
#include <cstring>

#include "blake2b.h"
#include "counter.h"
#include "sodium.h"

namespace quorate {

constexpr uint32_t kCidSize = 8;
constexpr uint32_t kSendCounterSize = 4;  // one length, so that segments of a batch are equal
constexpr uint32_t kHeadSize = kCidSize + kSendCounterSize;
constexpr uint32_t kMaskSize = Mask::kSize;
constexpr uint32_t kNonceSizeMax = 32;
constexpr uint32_t kReplayWindow = 8192;

struct DirectionKeys {
    const Suite *suite = nullptr;
    uint8_t cid[kCidSize] = {};
    uint8_t key[kKeySize] = {};
    Mask mask;  // the header key

    ~DirectionKeys() { wipe(); }
    void wipe() {
        erase(key, sizeof key);
        mask.wipe();
    }
    void set(const Suite *its_suite, const uint8_t *its_cid, const uint8_t *its_key,
             const uint8_t *header_key) {
        suite = its_suite;
        std::memcpy(cid, its_cid, kCidSize);
        suite->set_key(key, its_key);
        mask.set_key(header_key);
    }
};

inline void write_nonce(uint8_t *nonce, uint32_t size, uint64_t number) {
    std::memset(nonce, 0, size);
    for (uint32_t i = 0; i < 8; i++) nonce[size - 1 - i] = static_cast<uint8_t>(number >> (8 * i));
}

class Sealer {
  public:
    DirectionKeys keys;
    uint64_t sealed = 0;

    uint32_t overhead() const { return kHeadSize + keys.suite->tag_size; }

    // The payload of `size` bytes stands at datagram + kHeadSize and is sealed where it stands.
    // Returns the datagram's size.
    uint32_t seal(uint8_t *datagram, uint32_t size) {
        const uint64_t number = sealed++;
        std::memcpy(datagram, keys.cid, kCidSize);
        for (uint32_t i = 0; i < kSendCounterSize; i++) {
            const uint32_t shift = 7 * (kSendCounterSize - 1 - i);
            const uint8_t more = i + 1 < kSendCounterSize ? 0x80 : 0;
            datagram[kCidSize + i] = static_cast<uint8_t>((number >> shift & 0x7f) | more);
        }
        uint8_t nonce[kNonceSizeMax];
        write_nonce(nonce, keys.suite->nonce_size, number);
        uint8_t *payload = datagram + kHeadSize;
        keys.suite->encrypt(payload, nullptr, payload, size, datagram, kHeadSize, nullptr, nonce,
                            keys.key);
        const uint32_t total = kHeadSize + size + keys.suite->tag_size;
        uint8_t mask[kMaskSize];
        keys.mask.make(mask, datagram + total - kMaskSize);
        for (uint32_t i = 0; i < kSendCounterSize; i++) datagram[kCidSize + i] ^= mask[i];
        return total;
    }
};

class Opener {
  public:
    DirectionKeys keys;
    ReplayWindow<kReplayWindow> replay;
    bool live = false;

    // Opens in place. Returns the payload's size and sets `payload`, or -1 for what is forged,
    // altered, cut, or was seen before: one answer for all, and no state changes.
    int open_untrusted(uint8_t *datagram, uint32_t size, uint8_t **payload) {
        const uint32_t tag = keys.suite->tag_size;
        if (size < kCidSize + 1 + tag) return -1;
        uint8_t mask[kMaskSize];
        keys.mask.make(mask, datagram + size - kMaskSize);
        uint64_t low = 0;
        uint32_t length = 0;
        for (;;) {
            if (length == kCounterSizeMax) return -1;
            // Within the datagram: the tag alone is longer than a counter.
            uint8_t &byte = datagram[kCidSize + length];
            byte ^= mask[length++];
            low = low << 7 | (byte & 0x7f);
            if (!(byte & 0x80)) break;
        }
        const uint32_t head = kCidSize + length;
        if (size < head + tag) return -1;
        const int64_t number = nearest(low, 7 * length, replay.largest());
        if (!replay.is_fresh(number)) return -1;
        uint8_t nonce[kNonceSizeMax];
        write_nonce(nonce, keys.suite->nonce_size, static_cast<uint64_t>(number));
        *payload = datagram + head;
        if (keys.suite->decrypt(*payload, nullptr, nullptr, *payload, size - head, datagram, head,
                                nonce, keys.key) != 0)
            return -1;
        replay.mark(number);
        return static_cast<int>(size - head - tag);
    }
};

}  // namespace quorate
