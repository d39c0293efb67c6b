#include "ledbat.h"

#include <algorithm>
#include <utility>

namespace quorate {

namespace {

uint64_t rtts(const Ledbat::Path &path, uint32_t count) {
    return uint64_t{count} * std::max<uint32_t>(path.rtt_ms, 1);
}

// 1 / min(16, ceil(2 target / base)): shorter paths grow slower, so that a queue of one target is
// reached in like times and flows of all paths give way to ordinary TCP.
double gain(const Ledbat::Path &path) {
    const uint32_t base_us = std::max<uint32_t>(path.base_rtt_ms, 1) * 1000;
    const uint32_t divisor = (2 * kTargetUs + base_us - 1) / base_us;
    return 1.0 / std::min(kGainDivisorMax, std::max<uint32_t>(divisor, 1));
}

}  // namespace

size_t Ledbat::clamped(const Path &path, double window) {
    const double least = static_cast<double>(kWindowMinPackets * path.packet_size);
    const double most = static_cast<double>(std::max(path.window_max, kWindowMinPackets * path.packet_size));
    window = std::clamp(window, least, most);
    const size_t whole = static_cast<size_t>(window);
    fraction_ = window - static_cast<double>(whole);
    return whole;
}

size_t Ledbat::grow(const Path &path, size_t window, double bytes) {
    return clamped(path, static_cast<double>(window) + fraction_ + gain(path) * bytes);
}

// Slow start has ended for the first time, or a slowdown is over: when is the next one due? Never
// before slow start has ended, and never sooner than 18 round trips after the last: where ramping
// takes no time, nine times its duration is nothing and the window would be cut without end.
// A ramp that waited for a writer took no longer than one that did not.
void Ledbat::schedule_slowdown(const Path &path) {
    if (in_slowdown()) {
        const uint64_t took = std::min(path.now_ms - begun_ms_, rtts(path, kRampRttsMax));
        slowdown_ms_ =
            path.now_ms + std::max(kSlowdownFactor * took, rtts(path, kSlowdownRttsMin));
    } else if (slowdown_ms_ == kNever) {
        slowdown_ms_ = path.now_ms + rtts(path, kFreezeRtts);
    }
}

size_t Ledbat::acked(const Path &path, size_t window, size_t bytes, uint32_t delay_us,
                     bool limited) {
    queue_.acked(path.now_ms, path.rtt_ms, delay_us, bytes, path.packet_size);
    switch (phase_) {
    case kStarting:
        if (delay_us > kTargetUs / 4 * 3) {
            schedule_slowdown(path);
            phase_ = kAvoiding;
            return window;
        }
        return limited ? grow(path, window, static_cast<double>(bytes)) : window;
    case kFrozen:
        if (path.now_ms < frozen_until_ms_) return window;
        phase_ = kRamping;
        [[fallthrough]];
    case kRamping:
    case kRecovering:
        if (limited) window = grow(path, window, static_cast<double>(bytes));
        if (window >= threshold_) {
            window = threshold_;
            schedule_slowdown(path);
            phase_ = kAvoiding;
        }
        return window;
    case kAvoiding:
        return avoid(path, window, bytes, delay_us, limited);
    }
    return window;
}

size_t Ledbat::avoid(const Path &path, size_t window, size_t bytes, uint32_t delay_us,
                     bool limited) {
    if (limited && !path.repairing && path.now_ms >= slowdown_ms_) {
        undo_window_ = 0;
        // Empties our share of the queue, so that everybody on the path sees its true length.
        threshold_ = std::max(window, kThresholdMinPackets * path.packet_size);
        begun_ms_ = path.now_ms;
        frozen_until_ms_ = path.now_ms + rtts(path, kFreezeRtts);
        phase_ = kFrozen;
        slowdowns_++;
        return clamped(path, static_cast<double>(kWindowMinPackets * path.packet_size));
    }
    // What a whole window of acknowledgements changes, and this one's share of it.
    const double whole = static_cast<double>(window);
    const double share = std::min(1.0, static_cast<double>(bytes) / whole);
    // Reno's packet a round trip while there is no queue, the draft's gain where there is one.
    const double packets = std::max(gain(path), queue_.room(path.now_ms));
    double change = limited ? packets * static_cast<double>(path.packet_size) : 0;
    if (delay_us > kSetPointUs)
        change = std::max(change - whole * (delay_us / static_cast<double>(kSetPointUs) - 1),
                          -whole / 2);
    return clamped(path, whole + fraction_ + share * change);
}

size_t Ledbat::lost(const Path &path, size_t window) {
    const bool crowded = queue_.crowded(path.packet_size);
    if (crowded) queue_.hold(path.now_ms);
    const double leaves = crowded ? kLossLeaves : kQuietLossLeaves;
    if (phase_ == kFrozen || (phase_ == kRamping && !crowded)) {
        // Sent before the window was cut, or on the way back: it is the window to come back to that
        // was too large.
        const double threshold = leaves * static_cast<double>(threshold_);
        threshold_ = std::max(static_cast<size_t>(threshold), kThresholdMinPackets * path.packet_size);
        return window;
    }
    undo_window_ = window;
    undo_phase_ = phase_;
    undo_slowdown_ms_ = slowdown_ms_;
    schedule_slowdown(path);
    phase_ = kAvoiding;
    return clamped(path, leaves * static_cast<double>(window));
}

size_t Ledbat::undo(size_t window) {
    if (!undo_window_) return window;
    phase_ = undo_phase_;
    slowdown_ms_ = undo_slowdown_ms_;
    return std::max(window, std::exchange(undo_window_, 0));
}

size_t Ledbat::timed_out(const Path &path, size_t window, bool again) {
    // Timeouts one after another are one event, and must not drive the threshold to nothing.
    undo_window_ = 0;
    const size_t reached = phase_ == kFrozen || phase_ == kRamping ? threshold_ : window;
    if (!again) threshold_ = std::max(reached / 2, kThresholdMinPackets * path.packet_size);
    if (in_slowdown()) schedule_slowdown(path);
    phase_ = kRecovering;
    return clamped(path, static_cast<double>(kWindowMinPackets * path.packet_size));
}

size_t Ledbat::restart(size_t window, size_t packet_size) {
    phase_ = kStarting;
    slowdown_ms_ = kNever;
    fraction_ = 0;
    undo_window_ = 0;
    queue_ = QueueWatch();
    return std::min(window, kInitialWindowPackets * packet_size);
}

}  // namespace quorate
