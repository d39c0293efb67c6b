// The pump's planes and channels by handle.
#include <algorithm>
#include <cerrno>

#include "pump.h"

namespace quorate {

namespace {

constexpr uint32_t kIndexBits = 24;
constexpr uint32_t kIndexMask = (1u << kIndexBits) - 1;
constexpr uint32_t kGenerationMask = 0x7fffffff;
constexpr uint32_t kSpentMax = 64;  // two hours of epochs; whoever makes keys gives them once

}  // namespace

const Plane *Pump::find_plane(int64_t handle) const {
    const uint64_t index = static_cast<uint64_t>(handle) & kIndexMask;
    if (handle < 0 || index >= planes_.size()) return nullptr;
    const Plane *plane = planes_[index].get();
    return plane->live && plane->generation == static_cast<uint64_t>(handle) >> kIndexBits ? plane
                                                                                          : nullptr;
}

Plane *Pump::find_plane(int64_t handle) {
    return const_cast<Plane *>(static_cast<const Pump *>(this)->find_plane(handle));
}

Channel *Pump::find_channel(int64_t handle) const {
    const uint64_t index = static_cast<uint64_t>(handle) & kIndexMask;
    if (handle < 0 || index >= slots_.size()) return nullptr;
    const Slot &slot = slots_[index];
    if (!slot.channel || slot.generation != static_cast<uint64_t>(handle) >> kIndexBits)
        return nullptr;
    return slot.channel->released() ? nullptr : slot.channel.get();
}

ChannelLimits Pump::limits(const Plane &plane) const {
    const uint32_t silent_ms = plane.bare ? UTP_SILENT_STOCK_MS : UTP_SILENT_MS;
    uint32_t size = config_.sealed_size_max, received = std::max(size, kBareSizeMax);
    if (!plane.bare) {
        size -= plane.sealer.overhead();
        received = size - kNumberSize;
        size = plane.sealer.keys.suite->worthwhile(size) - kNumberSize;
    }
    return {size, received, config_.send_buffer, config_.send_window, config_.receive_buffer,
            silent_ms};
}

bool Pump::install(Plane &plane, uint32_t epoch, const qp_keys &keys) {
    const uint64_t key = cid_key(keys.receive_cid);
    if (routes_.count(key)) return false;
    Opener &opener = plane.openers[epoch];
    opener.keys.set(sodium_.suite(keys.suite), keys.receive_cid, keys.receive_key,
                    keys.receive_header_key);
    opener.replay = {};
    opener.live = true;
    routes_.emplace(key, Route{plane.index, epoch});
    if (plane.spent.size() < kSpentMax) {
        plane.spent.push_back(key);
    } else {
        plane.spent[plane.spent_next++ % kSpentMax] = key;
    }
    return true;
}

Plane *Pump::new_plane(const uint8_t *address) {
    if (free_planes_.empty()) {
        if (planes_.size() >= config_.planes_max) return nullptr;
        free_planes_.push_back(static_cast<uint32_t>(planes_.size()));
        planes_.push_back(std::make_unique<Plane>());
        planes_.back()->index = free_planes_.back();
    }
    Plane &plane = *planes_[free_planes_.back()];
    free_planes_.pop_back();
    plane.live = true;
    std::memcpy(plane.address.bytes, address, sizeof plane.address.bytes);
    plane.reported = plane.address;
    return &plane;
}

int64_t Pump::add_plane(const qp_keys &keys, const uint8_t *address, bool initiator) {
    const Suite *suite = sodium_.suite(keys.suite);
    if (!suite) return -EINVAL;
    if (routes_.count(cid_key(keys.receive_cid))) return -EEXIST;
    Plane *made = new_plane(address);
    if (!made) return -ENOSPC;
    Plane &plane = *made;
    plane.initiator = initiator;
    plane.sealer.keys.set(suite, keys.send_cid, keys.send_key, keys.send_header_key);
    install(plane, 0, keys);
    plane.next_number = initiator ? 0 : 1;
    return handle_of(plane.index, plane.generation);
}

int64_t Pump::move_plane(int64_t handle, const uint8_t *address) {
    Plane *plane = find_plane(handle);
    if (!plane) return -EBADF;
    if (plane->bare) return -EINVAL;  // its address is all there is to know it by
    std::memcpy(plane->address.bytes, address, sizeof plane->address.bytes);
    plane->reported = plane->address;
    // What was measured on the old path does not hold on the new one.
    read_clock();
    for (auto &entry : plane->channels) {
        entry.second->path_changed();
        touch(*entry.second);
    }
    settle();
    return flush();
}

int64_t Pump::rekey_plane(int64_t handle, const qp_keys &keys, bool send_now, double retire_s) {
    Plane *plane = find_plane(handle);
    if (!plane) return -EBADF;
    if (plane->bare) return -EINVAL;
    const Suite *suite = sodium_.suite(keys.suite);
    // Packets of channels have been cut for the old suite's overhead.
    if (!suite || suite != plane->sealer.keys.suite) return -EINVAL;
    const uint64_t key = cid_key(keys.receive_cid);
    if (routes_.count(key)) return -EEXIST;
    // The counters begin at 0 with an epoch: keys that come again would use nonces twice.
    if (std::find(plane->spent.begin(), plane->spent.end(), key) != plane->spent.end())
        return -EEXIST;
    const uint32_t next = 1 - plane->current;
    erase_epoch(*plane, next);  // the one before the last, if it is still there
    install(*plane, next, keys);
    plane->current = next;
    plane->retire_ms = now_ms_ + static_cast<uint64_t>(std::max(retire_s, 0.0) * 1000);
    if (std::find(retiring_.begin(), retiring_.end(), plane->index) == retiring_.end())
        retiring_.push_back(plane->index);
    plane->next_send.set(suite, keys.send_cid, keys.send_key, keys.send_header_key);
    plane->send_pending = true;
    if (send_now) switch_keys(*plane);
    return 0;
}

int64_t Pump::switch_plane(int64_t handle) {
    Plane *plane = find_plane(handle);
    if (!plane) return -EBADF;
    switch_keys(*plane);
    return 0;
}

void Pump::switch_keys(Plane &plane) {
    if (!plane.send_pending) return;
    plane.sealer.keys = plane.next_send;
    plane.sealer.sealed = 0;
    plane.next_send.wipe();
    plane.send_pending = false;
}

void Pump::erase_epoch(Plane &plane, uint32_t epoch) {
    Opener &opener = plane.openers[epoch];
    if (!opener.live) return;
    routes_.erase(cid_key(opener.keys.cid));
    opener.keys.wipe();
    opener.live = false;
}

void Pump::retire_epochs() {
    for (size_t i = retiring_.size(); i-- > 0;) {
        Plane &plane = *planes_[retiring_[i]];
        if (plane.retire_ms > now_ms_) continue;
        erase_epoch(plane, 1 - plane.current);
        plane.retire_ms = UINT64_MAX;
        retiring_[i] = retiring_.back();
        retiring_.pop_back();
    }
}

int64_t Pump::remove_plane(int64_t handle) {
    Plane *plane = find_plane(handle);
    if (!plane) return -EBADF;
    while (!plane->channels.empty()) {
        Channel *channel = plane->channels.begin()->second;
        if (!channel->released() && !channel->failed())
            orphaned_.push_back({handle_of(channel->index, channel->generation), handle, kFailed,
                                 kPlaneRemoved});
        delete_channel(channel);
    }
    for (uint32_t epoch = 0; epoch < kEpochs; epoch++) erase_epoch(*plane, epoch);
    if (plane->bare) bare_.erase(plane->address);
    const auto moved = std::find(moved_.begin(), moved_.end(), plane->index);
    if (moved != moved_.end()) moved_.erase(moved);
    const auto at = std::find(retiring_.begin(), retiring_.end(), plane->index);
    if (at != retiring_.end()) retiring_.erase(at);
    const uint32_t index = plane->index, generation = plane->generation;
    *planes_[index] = Plane{};  // erases the keys
    planes_[index]->index = index;
    planes_[index]->generation = (generation + 1) & kGenerationMask;
    free_planes_.push_back(index);
    return 0;
}

Channel *Pump::add_channel(Plane &plane, uint32_t number, bool incoming) {
    uint32_t index;
    if (!free_slots_.empty()) {
        index = free_slots_.back();
    } else {
        index = static_cast<uint32_t>(slots_.size());
        slots_.emplace_back();
        // These then never need memory for a channel that is there already.
        free_slots_.reserve(slots_.capacity());
        touched_.reserve(slots_.capacity());
        listed_.reserve(slots_.capacity());
        free_slots_.push_back(index);
    }
    Slot &slot = slots_[index];
    auto made = std::make_unique<Channel>(*this, limits(plane), plane.index, number, incoming);
    plane.channels.emplace(number, made.get());
    slot.channel = std::move(made);
    free_slots_.pop_back();
    slot.channel->index = index;
    slot.channel->generation = slot.generation;
    (incoming ? plane.incoming : plane.outgoing)++;
    return slot.channel.get();
}

void Pump::delete_channel(Channel *channel) {
    Plane &plane = *planes_[channel->plane];
    plane.channels.erase(channel->number);
    (channel->leaving ? plane.leaving : channel->incoming ? plane.incoming : plane.outgoing)--;
    const uint32_t index = channel->index;
    if (channel->touched)
        touched_.erase(std::remove(touched_.begin(), touched_.end(), channel), touched_.end());
    if (channel->listed)
        listed_.erase(std::remove(listed_.begin(), listed_.end(), index), listed_.end());
    slots_[index].channel.reset();
    slots_[index].generation = (slots_[index].generation + 1) & kGenerationMask;
    free_slots_.push_back(index);
}

int64_t Pump::open_channel(int64_t handle) {
    Plane *plane = find_plane(handle);
    if (!plane) return -EBADF;
    if (plane->outgoing >= config_.outgoing_max) return -ENOSPC;
    if (plane->bare) return open_bare(*plane);
    // Numbers in use are skipped: after 2^31 channels they come round.
    while (plane->channels.count(plane->next_number)) plane->next_number += 2;
    Channel *channel = add_channel(*plane, plane->next_number, false);
    plane->next_number += 2;
    begin(channel, [&] { channel->connect(); });
    touch(*channel);
    settle();
    const int64_t opened = handle_of(channel->index, channel->generation);
    const int64_t flushed = flush();
    return flushed < 0 ? flushed : opened;
}

int64_t Pump::write(int64_t handle, const uint8_t *data, size_t size) {
    Channel *channel = find_channel(handle);
    if (!channel) return -EBADF;
    if (channel->failed()) return -ECONNRESET;
    if (channel->finishing()) return -EPIPE;
    read_clock();
    const size_t taken = channel->write(data, size);
    touch(*channel);
    settle();
    const int64_t flushed = flush();
    return flushed < 0 ? flushed : static_cast<int64_t>(taken);
}

int64_t Pump::read(int64_t handle, uint8_t *data, size_t size) {
    Channel *channel = find_channel(handle);
    if (!channel) return -EBADF;
    const size_t count = channel->read(data, size);
    if (count == 0) return 0;  // and READABLE is armed
    read_clock();
    touch(*channel);
    settle();
    const int64_t flushed = flush();
    return flushed < 0 ? flushed : static_cast<int64_t>(count);
}

int64_t Pump::readable(int64_t handle) {
    const Channel *channel = find_channel(handle);
    return channel ? static_cast<int64_t>(channel->readable()) : -EBADF;
}

int64_t Pump::finish(int64_t handle) {
    Channel *channel = find_channel(handle);
    if (!channel) return -EBADF;
    read_clock();
    channel->finish();
    touch(*channel);
    settle();
    return flush();
}

int64_t Pump::close_channel(int64_t handle, bool abort) {
    Channel *channel = find_channel(handle);
    if (!channel) return -EBADF;
    read_clock();
    channel->release(abort);
    touch(*channel);
    settle();
    return flush();
}

}  // namespace quorate
