// What the pump has to tell of its planes and channels, and when each channel is looked at again.
#include <algorithm>
#include <cstring>
#include <functional>

#include "pump.h"

namespace quorate {

namespace {

constexpr uint32_t kHeapSlack = 256;

}  // namespace

void Pump::event(Channel &channel, EventKind kind) {
    if (channel.released()) return;
    channel.events |= 1u << kind;
    if (channel.listed) return;
    channel.listed = true;
    listed_.push_back(channel.index);
}

int64_t Pump::poll_events(qp_event *events, uint32_t count) {
    uint32_t filled = 0;
    const size_t orphans = std::min<size_t>(orphaned_.size(), count);
    std::copy_n(orphaned_.begin(), orphans, events);
    orphaned_.erase(orphaned_.begin(), orphaned_.begin() + static_cast<int64_t>(orphans));
    filled += static_cast<uint32_t>(orphans);
    size_t done = 0;
    for (; done < listed_.size() && filled + kKinds <= count; done++) {
        Channel *channel = slots_[listed_[done]].channel.get();
        const Plane &plane = *planes_[channel->plane];
        for (int32_t kind = 0; kind < kKinds; kind++) {
            if (!(channel->events >> kind & 1)) continue;
            events[filled++] = {handle_of(channel->index, channel->generation),
                                handle_of(plane.index, plane.generation), kind,
                                kind == kFailed ? channel->reason : 0};
        }
        channel->events = 0;
        channel->listed = false;
    }
    listed_.erase(listed_.begin(), listed_.begin() + static_cast<int64_t>(done));
    return filled;
}

int64_t Pump::poll_paths(qp_path *paths, uint32_t count) {
    uint32_t filled = 0;
    while (filled < count && !moved_.empty()) {
        Plane &plane = *planes_[moved_.back()];
        moved_.pop_back();
        plane.moving = false;
        if (plane.reported == plane.address) continue;  // it has come back
        qp_path &path = paths[filled++];
        path.plane = handle_of(plane.index, plane.generation);
        std::memcpy(path.address, plane.reported.bytes, sizeof plane.reported.bytes);
        path.size = plane.reported_size;
    }
    return filled;
}

void Pump::touch(Channel &channel) {
    if (channel.touched) return;
    channel.touched = true;
    touched_.push_back(&channel);
}

void Pump::settle() {
    // Settling a channel touches no other one.
    size_t done = 0;
    try {
        for (; done < touched_.size(); done++) settle(*touched_[done]);
    } catch (...) {
        // The one it happened to and those behind it are settled by the next call. Those before it
        // may be gone already.
        touched_.erase(touched_.begin(), touched_.begin() + static_cast<int64_t>(done));
        throw;
    }
    touched_.clear();
}

void Pump::settle(Channel &channel) {
    channel.settle();
    if (channel.dead()) {
        channel.touched = false;
        return delete_channel(&channel);
    }
    if (channel.incoming && !channel.leaving && channel.over()) {
        Plane &plane = *planes_[channel.plane];
        channel.leaving = true;
        plane.incoming--;
        plane.leaving++;
    }
    arm(channel);
    channel.touched = false;
}

// Keeps the earliest time at which a channel may have something to do in the heap. A time that
// moved later is found out when the earlier one comes: acknowledgements move it with every batch.
void Pump::arm(Channel &channel) {
    const uint64_t at = channel.next_timeout();
    if (at >= channel.queued_ms) return;
    channel.queued_ms = at;
    if (timers_.size() > 4 * slots_.size() + kHeapSlack) {
        timers_.erase(std::remove_if(timers_.begin(), timers_.end(),
                                     [this](const Timer &timer) {
                                         const Slot &slot = slots_[timer.index];
                                         return !slot.channel ||
                                                slot.generation != timer.generation ||
                                                slot.channel->queued_ms != timer.at;
                                     }),
                      timers_.end());
        std::make_heap(timers_.begin(), timers_.end(), std::greater<>());
    }
    timers_.push_back({at, channel.index, channel.generation});
    std::push_heap(timers_.begin(), timers_.end(), std::greater<>());
}

int64_t Pump::plane_figures(int64_t handle, qp_plane_figures *out) const {
    const Plane *plane = find_plane(handle);
    if (!plane) return -EBADF;
    *out = {plane->sealer.sealed, plane->bytes_sealed, plane->opened, plane->bytes_opened,
            plane->heard_at, static_cast<uint32_t>(plane->channels.size()), plane->incoming};
    return 0;
}

int64_t Pump::channel_figures(int64_t handle, qp_channel_figures *out) const {
    const Channel *channel = find_channel(handle);
    if (!channel) return -EBADF;
    channel->figures(out);
    return 0;
}

}  // namespace quorate
