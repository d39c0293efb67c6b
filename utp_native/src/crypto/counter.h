// Windowed counters and the window that refuses what was opened before: the native twin of
// transport/core/crypto/packet_number.py, held to it by tests/utp_native/test_seal.py.
#pragma once

#include <cstdint>
#include <cstring>

namespace quorate {

constexpr uint32_t kCounterSizeMax = 9;
constexpr int64_t kCounterMax = INT64_MAX;

// The number nearest to `expected` with these low bits (RFC 9000, A.3); never above kCounterMax.
inline int64_t nearest(uint64_t low, uint32_t bits, int64_t largest) {
    if (bits >= 63 || largest == kCounterMax) return static_cast<int64_t>(low & kCounterMax);
    const int64_t expected = largest + 1;
    const int64_t window = int64_t{1} << bits;
    const int64_t half = window >> 1;
    const int64_t candidate = (expected & ~(window - 1)) | static_cast<int64_t>(low);
    if (candidate <= expected - half && candidate <= kCounterMax - window)
        return candidate + window;
    // Written as a difference: expected + half may exceed the type.
    if (candidate - expected > half && candidate >= window) return candidate - window;
    return candidate;
}

template <uint32_t Size>
class ReplayWindow {
    static_assert(Size % 64 == 0 && (Size & (Size - 1)) == 0, "a ring of whole words");

  public:
    int64_t largest() const { return largest_; }

    bool is_fresh(int64_t number) const {
        if (number > largest_) return true;
        if (largest_ - number >= static_cast<int64_t>(Size)) return false;
        const uint32_t bit = static_cast<uint32_t>(number) & (Size - 1);
        return !(bits_[bit / 64] >> (bit % 64) & 1);
    }

    // Only after the datagram opened: forged numbers must not move the window.
    void mark(int64_t number) {
        if (number > largest_) {
            if (number - largest_ >= static_cast<int64_t>(Size)) {
                std::memset(bits_, 0, sizeof bits_);
            } else {
                for (int64_t n = largest_ + 1; n < number; n++) clear(n);
            }
            largest_ = number;
        } else if (largest_ - number >= static_cast<int64_t>(Size)) {
            return;
        }
        const uint32_t bit = static_cast<uint32_t>(number) & (Size - 1);
        bits_[bit / 64] |= uint64_t{1} << (bit % 64);
    }

  private:
    void clear(int64_t number) {
        const uint32_t bit = static_cast<uint32_t>(number) & (Size - 1);
        bits_[bit / 64] &= ~(uint64_t{1} << (bit % 64));
    }

    int64_t largest_ = -1;
    uint64_t bits_[Size / 64] = {};
};

}  // namespace quorate
