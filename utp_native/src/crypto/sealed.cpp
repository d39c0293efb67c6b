// The sealed datagrams of the messages plane, for Python: what transport/core/crypto/aead_portable.py does
// a primitive at a time. The bulk plane's (seal.h) have counters of one length and open where they
// stand; these have the shortest, and leave what they are given as it is.
#include "sealed.h"

#include <algorithm>
#include <cstring>

#include "blake2b.h"
#include "counter.h"
#include "erase.h"
#include "sodium.h"

namespace {

using quorate::Decrypt;
using quorate::Encrypt;
using quorate::Mask;
using quorate::Sodium;
using quorate::Suite;
using quorate::erase;
using quorate::kCounterMax;
using quorate::kCounterSizeMax;

constexpr size_t kCidSize = 8, kDatagramSizeMax = 1200, kNonceSizeMax = 32;
constexpr uint32_t kReplayWindow = 64;   // numbers; as many as `window` has bits
constexpr uint32_t kAmbiguityBits = 5;   // counters tell apart 32 times the distance
constexpr int64_t kRefused = -1, kUsedUp = -2, kTooLong = -3;

// A thread's own: cffi lets go of the interpreter for the length of a call.
thread_local uint8_t scratch[kDatagramSizeMax];

// Big-endian: zeros, then the number. Of XChaCha20's nonce the first 16 bytes are in the key.
void write_nonce(uint8_t *nonce, uint32_t size, uint64_t number) {
    std::memset(nonce, 0, size);
    for (uint32_t i = 0; i < 8; i++) nonce[size - 1 - i] = static_cast<uint8_t>(number >> (8 * i));
}

// As transport/core/crypto/packet_number.py's size_for.
uint32_t counter_size(const qp_direction &d) {
    const int64_t distance = static_cast<int64_t>(d.next) - d.acknowledged;
    const uint64_t below = distance > 1 ? static_cast<uint64_t>(distance - 1) : 0;
    const uint32_t bits = below ? 64 - static_cast<uint32_t>(__builtin_clzll(below)) : 0;
    const uint32_t size = (bits + kAmbiguityBits + 6) / 7;
    return std::min(std::max(size, d.counter_size_min), kCounterSizeMax);
}

bool is_fresh(const qp_direction &d, int64_t number) {
    if (number > d.largest) return true;
    const int64_t behind = d.largest - number;
    return behind < kReplayWindow && !(d.window >> behind & 1);
}

void mark(qp_direction &d, int64_t number) {
    d.newest = number > d.largest;
    if (!d.newest) {
        d.window |= uint64_t{1} << (d.largest - number);
        return;
    }
    const int64_t ahead = number - d.largest;
    d.window = ahead < kReplayWindow ? d.window << ahead | 1 : 1;
    d.largest = number;
}

}  // namespace

int64_t qp_direction_init(const qp_sodium *functions, qp_direction *d, int opens, uint32_t number,
                          const uint8_t *cid, const uint8_t *key, const uint8_t *header_key) {
    const Sodium sodium(*functions);
    const Suite *suite = sodium.suite(number);
    if (!suite) return kRefused;
    std::memset(d, 0, sizeof *d);
    d->work = opens ? reinterpret_cast<void *>(suite->decrypt)
                    : reinterpret_cast<void *>(suite->encrypt);
    Mask::absorb(d->mask, header_key);
    suite->set_key(d->key, key);
    std::memcpy(d->cid, cid, kCidSize);
    d->nonce_size = suite->nonce_size;
    d->tag_size = suite->tag_size;
    d->acknowledged = d->largest = -1;
    d->counter_size_min = 1;
    return 0;
}

void qp_direction_erase(qp_direction *d) {
    erase(d->mask, sizeof d->mask);
    erase(d->key, sizeof d->key);
    d->erased = 1;
}

int64_t qp_seal(qp_direction *d, const uint8_t *payload, size_t size) {
    if (d->erased) return kRefused;  // under a key of zeros everybody could read it
    if (d->next > static_cast<uint64_t>(kCounterMax)) return kUsedUp;
    const uint32_t length = counter_size(*d);
    const size_t head = kCidSize + length;
    if (size > kDatagramSizeMax || head + size + d->tag_size > kDatagramSizeMax) return kTooLong;
    const uint64_t number = d->next++;
    std::memcpy(scratch, d->cid, kCidSize);
    uint8_t *counter = scratch + kCidSize;
    for (uint32_t i = 0; i < length; i++) {
        const uint8_t more = i + 1 < length ? 0x80 : 0;
        counter[i] = static_cast<uint8_t>((number >> 7 * (length - 1 - i) & 0x7f) | more);
    }
    uint8_t nonce[kNonceSizeMax];
    write_nonce(nonce, d->nonce_size, number);
    reinterpret_cast<Encrypt>(d->work)(scratch + head, nullptr, payload, size, scratch, head,
                                       nullptr, nonce, d->key);
    const size_t total = head + size + d->tag_size;
    uint8_t mask[Mask::kSize];
    Mask::make(d->mask, mask, scratch + total - Mask::kSize);
    for (uint32_t i = 0; i < length; i++) counter[i] ^= mask[i];
    d->out = reinterpret_cast<const char *>(scratch);
    return static_cast<int64_t>(total);
}

int64_t qp_open_untrusted(qp_direction *d, const uint8_t *datagram, size_t size) {
    const uint32_t tag = d->tag_size;
    if (d->erased || size < kCidSize + 1 + tag || size > kDatagramSizeMax) return kRefused;
    uint8_t mask[Mask::kSize];
    Mask::make(d->mask, mask, datagram + size - Mask::kSize);
    // What is associated: the bytes before the ciphertext, the counter unmasked.
    uint8_t before[kCidSize + kCounterSizeMax];
    std::memcpy(before, datagram, kCidSize);
    uint64_t low = 0;
    uint32_t length = 0;
    for (;;) {
        if (length == kCounterSizeMax) return kRefused;
        // Within the datagram: the tag alone is longer than a counter.
        const uint8_t byte = datagram[kCidSize + length] ^ mask[length];
        before[kCidSize + length++] = byte;
        low = low << 7 | (byte & 0x7f);
        if (!(byte & 0x80)) break;
    }
    const size_t head = kCidSize + length;
    if (size < head + tag) return kRefused;
    const int64_t number = quorate::nearest(low, 7 * length, d->largest);
    if (!is_fresh(*d, number)) return kRefused;
    uint8_t nonce[kNonceSizeMax];
    write_nonce(nonce, d->nonce_size, static_cast<uint64_t>(number));
    if (reinterpret_cast<Decrypt>(d->work)(scratch, nullptr, nullptr, datagram + head, size - head,
                                           before, head, nonce, d->key) != 0)
        return kRefused;
    mark(*d, number);
    d->out = reinterpret_cast<const char *>(scratch);
    return static_cast<int64_t>(size - head - tag);
}
