// The congestion controller: LEDBAT++ (draft-irtf-iccrg-ledbat-plus-plus-06), the only place that
// decides a window. It knows nothing of sockets or packets: it is told what was acknowledged and
// how long the queue is, and gives the window back.
//
//   starting ──queue at 3/4 target, or a loss──► avoiding ──slowdown due──► frozen
//                                                 ▲    ▲                       │ two round trips
//   recovering ──threshold reached────────────────┘    └──threshold reached── ramping
//   (any) ──timeout──► recovering
#pragma once

#include <cstddef>
#include <cstdint>

#include "queue_watch.h"

namespace quorate {

constexpr uint32_t kTargetUs = 60000;
// The draft's balance of growth and decrease lies above the point it steers by: by the gain over
// the window, up to a sixtieth where windows are small. Steering a little lower keeps the queue at
// or under the target.
constexpr uint32_t kSetPointUs = kTargetUs - kTargetUs / 64;
constexpr uint32_t kGainDivisorMax = 16;
constexpr uint32_t kInitialWindowPackets = 10;  // RFC 6928
constexpr uint32_t kWindowMinPackets = 2;       // one loss must not need a timeout
constexpr uint32_t kThresholdMinPackets = 4;    // losses and slowdowns must not wear it down
constexpr uint32_t kFreezeRtts = 2;
constexpr double kLossLeaves = 0.5;             // where there is a queue, as the draft has it
constexpr double kQuietLossLeaves = 0.85;       // where there is none
constexpr uint32_t kSlowdownFactor = 9;         // a slowdown costs at most a tenth of the time
// From two packets to 16,384, by a sixteenth each round trip.
constexpr uint32_t kRampRttsMax = 160;
constexpr uint32_t kSlowdownRttsMin = kSlowdownFactor * kFreezeRtts;

class Ledbat {
  public:
    struct Path {
        uint64_t now_ms;
        uint32_t rtt_ms;       // smoothed
        uint32_t base_rtt_ms;  // without a queue
        size_t packet_size;
        size_t window_max;
        bool repairing;        // what is lost waits for room in the window
    };

    // `bytes` were acknowledged and `delay_us` is our direction's queue. `limited`: the window was
    // used up lately; one that was not says nothing about the path and does not grow.
    size_t acked(const Path &path, size_t window, size_t bytes, uint32_t delay_us, bool limited);
    // Each packet that counts as lost, and each of these that was only late.
    void packet_lost(const Path &path) { queue_.packet_lost(path.packet_size); }
    void packet_was_late(const Path &path) { queue_.packet_was_late(path.packet_size); }
    // Packets were lost; the caller sees to it that this is once a round trip.
    size_t lost(const Path &path, size_t window);
    // What was last called lost had only been late (as RFC 4015 does): the window as it was.
    size_t undo(size_t window);
    // Everything in flight counts as lost. `again`: the one after another without an answer.
    size_t timed_out(const Path &path, size_t window, bool again);
    // Another path: nothing that was learnt holds.
    size_t restart(size_t window, size_t packet_size);

    bool in_slow_start() const { return phase_ == kStarting || phase_ >= kRamping; }
    bool in_slowdown() const { return phase_ == kFrozen || phase_ == kRamping; }
    uint32_t slowdowns() const { return slowdowns_; }

  private:
    enum Phase { kStarting, kAvoiding, kFrozen, kRamping, kRecovering };
    static constexpr uint64_t kNever = UINT64_MAX;

    size_t grow(const Path &path, size_t window, double bytes);
    size_t avoid(const Path &path, size_t window, size_t bytes, uint32_t delay_us, bool limited);
    size_t clamped(const Path &path, double window);
    void schedule_slowdown(const Path &path);

    Phase phase_ = kStarting;
    size_t threshold_ = 0;      // where ramping and recovering end
    double fraction_ = 0;       // of a byte of window: large windows grow by less for one packet
    uint64_t slowdown_ms_ = kNever;  // when the next one is due
    uint64_t begun_ms_ = 0;     // the slowdown under way
    uint64_t frozen_until_ms_ = 0;
    uint32_t slowdowns_ = 0;
    QueueWatch queue_;
    // What to come back to if the last loss was none; a window of 0: nothing.
    size_t undo_window_ = 0;
    Phase undo_phase_ = kStarting;
    uint64_t undo_slowdown_ms_ = kNever;
};

}  // namespace quorate
