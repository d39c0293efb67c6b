// Was there a queue when a packet was lost? A radio drops packets of an idle path; a router drops what
// its queue does not hold, and then the delay says so first. Only the controller asks.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>

namespace quorate {

// A queue shorter than this is none. A quarter of the target: room for jitter, and far from where
// LEDBAT++ begins to give way.
constexpr uint32_t kQuietUs = 15000;
// A short queue that was lately not longer than now is full: its buffer is shorter than 15 ms. Peaks
// of less are a few packets behind one another.
constexpr uint32_t kPeakFloorUs = 250;
constexpr uint32_t kPeakPercent = 90;
constexpr uint64_t kPeakPeriodMs = 5000;
// After a loss with a queue, growth is LEDBAT++'s alone for so long: a queue that has just been full
// is short because others gave way, and is not ours to fill.
constexpr uint64_t kHoldMs = 2000;
// Of about the last thousand packets. Who loses more is in the way, whatever the delay says.
constexpr uint64_t kCountedPackets = 1000;
constexpr uint64_t kLossPercentMax = 5;

// The longest delay of the last one to two periods.
class Peak {
  public:
    void note(uint64_t now_ms, uint32_t delay_us, uint64_t period_ms) {
        const uint64_t past_ms = now_ms - begun_ms_;
        if (past_ms >= period_ms) {
            before_us_ = past_ms < 2 * period_ms ? now_us_ : 0;
            now_us_ = 0;
            begun_ms_ = now_ms;
        }
        now_us_ = std::max(now_us_, delay_us);
    }
    uint32_t us() const { return std::max(now_us_, before_us_); }

  private:
    uint64_t begun_ms_ = 0;
    uint32_t now_us_ = 0, before_us_ = 0;
};

class QueueWatch {
  public:
    void acked(uint64_t now_ms, uint32_t rtt_ms, uint32_t delay_us, size_t bytes, size_t packet_size) {
        delay_us_ = delay_us;
        lately_.note(now_ms, delay_us, std::max<uint32_t>(rtt_ms, 1));
        longest_.note(now_ms, delay_us, kPeakPeriodMs);
        arrived_ += bytes;
        if (arrived_ < kCountedPackets * packet_size) return;
        arrived_ /= 2;
        lost_ /= 2;
    }

    void packet_lost(size_t packet_size) { lost_ += packet_size; }
    void packet_was_late(size_t packet_size) { lost_ -= std::min<uint64_t>(lost_, packet_size); }

    // A loss is due to a queue, for all that is known.
    bool crowded(size_t packet_size) const {
        // What came right behind the lost packet was acknowledged up to a round trip ago.
        const uint32_t then_us = lately_.us();
        if (then_us >= kQuietUs) return true;
        if (longest_.us() >= kPeakFloorUs && then_us >= uint64_t{longest_.us()} * kPeakPercent / 100)
            return true;
        // A handful says nothing of a share.
        return arrived_ >= kCountedPackets / 10 * packet_size &&
               lost_ * 100 > (arrived_ + lost_) * kLossPercentMax;
    }

    void hold(uint64_t now_ms) { hold_until_ms_ = now_ms + kHoldMs; }

    // How free the way is, from 0 (a queue, or one was full lately) to 1 (none).
    double room(uint64_t now_ms) const {
        if (now_ms < hold_until_ms_ || delay_us_ >= kQuietUs) return 0;
        return 1 - delay_us_ / static_cast<double>(kQuietUs);
    }

  private:
    uint32_t delay_us_ = 0;            // the newest
    Peak lately_, longest_;
    uint64_t hold_until_ms_ = 0;
    uint64_t arrived_ = 0, lost_ = 0;  // bytes
};

}  // namespace quorate
