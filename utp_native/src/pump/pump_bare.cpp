// Plain BEP 29 over the same socket and channels, to talk to other implementations of µTP: nothing
// is sealed, the peer is its address, and a channel is known by the connection id its packets carry.
#include <cerrno>

#include "pump.h"

namespace quorate {

namespace {

// Numbers of channels that have not drawn their connection id yet.
constexpr uint32_t kUndrawn = 1u << 16;
// Connection ids are drawn at random: how often, until one is free.
constexpr int kDraws = 16;

uint32_t connection(const uint8_t *packet) { return uint32_t{packet[2]} << 8 | packet[3]; }

}  // namespace

int64_t Pump::add_bare_plane(const uint8_t *address) {
    Address key;
    std::memcpy(key.bytes, address, sizeof key.bytes);
    if (bare_.count(key)) return -EEXIST;
    Plane *plane = new_plane(address);
    if (!plane) return -ENOSPC;
    plane->bare = true;
    bare_.emplace(key, plane->index);
    return handle_of(plane->index, plane->generation);
}

// True if the datagram was a µTP packet of a bare plane.
bool Pump::dispatch_bare(const uint8_t *data, uint32_t size, const Address &from) {
    const auto plane_at = bare_.find(from);
    if (plane_at == bare_.end()) return false;
    if (size < kPacketHeader || (data[0] & 0xf) != 1 || data[0] >> 4 >= kPacketTypes) return false;
    if (size > kBareSizeMax) return true;
    Plane &plane = *planes_[plane_at->second];
    const uint8_t type = data[0] >> 4;
    // A SYN carries the initiator's own id, and everything after it the acceptor's, one above.
    const uint32_t id = connection(data);
    const uint32_t number = (type == kPacketSyn ? id + 1 : id) & 0xffff;
    auto found = plane.channels.find(number);
    // A reset may carry either of the two.
    if (found == plane.channels.end() && type == kPacketReset)
        found = plane.channels.find((id + 1) & 0xffff);
    if (found == plane.channels.end() && type == kPacketReset)
        found = plane.channels.find((id - 1) & 0xffff);
    plane.opened++;
    plane.heard_at = now_;
    if (found != plane.channels.end() && found->second->answers()) {
        touch(*found->second);
        found->second->receive(data, size);
    } else if (type == kPacketSyn && found == plane.channels.end()) {
        accept(plane, number, data, size);
    } else if (type != kPacketReset) {
        send_reset(plane, number, data);
    }
    return true;
}

int64_t Pump::open_bare(Plane &plane) {
    for (int draw = 0; draw < kDraws; draw++) {
        if (plane.channels.count(kUndrawn)) return -EIO;
        Channel *channel = add_channel(plane, kUndrawn, false);
        begin(channel, [&] { channel->connect(); });  // draws the id, and the SYN tells it
        if (channel->number == kUndrawn) {
            delete_channel(channel);
            continue;
        }
        touch(*channel);
        settle();
        const int64_t opened = handle_of(channel->index, channel->generation);
        const int64_t flushed = flush();
        return flushed < 0 ? flushed : opened;
    }
    return -ENOSPC;
}

void Pump::send_bare(Channel &channel, Plane &plane, const uint8_t *packet, size_t size) {
    if (channel.number == kUndrawn) {
        const uint32_t number = connection(packet);
        if (packet[0] >> 4 != kPacketSyn || !plane.channels.emplace(number, &channel).second) return;
        plane.channels.erase(kUndrawn);
        channel.number = number;
    }
    put_bare(plane, packet, size);
}

void Pump::put_bare(Plane &plane, const uint8_t *packet, size_t size) {
    uint8_t *datagram = place(size);
    if (!datagram) return;
    std::memcpy(datagram, packet, size);
    outgoing_.push_back({static_cast<uint32_t>(arena_used_), static_cast<uint32_t>(size), plane.address});
    arena_used_ += size;
}

}  // namespace quorate
