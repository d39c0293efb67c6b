#include "pump.h"

#include <algorithm>
#include <cerrno>

namespace quorate {

namespace {

// The caller's clock may start at 0 or below; libutp takes 0 for "never".
constexpr uint64_t kClockOriginUs = uint64_t{1} << 40;
// While the socket is full: when to try again.
constexpr uint64_t kBlockedMs = 1;
// Resets sent for packets of unknown channels, in one call.
constexpr uint32_t kResetsPerCall = 16;
// Timers that fire in one call; more are left for the next, which is due at once.
constexpr uint32_t kTimersPerCall = 256;
// Datagrams are given to the kernel when this many wait.
constexpr size_t kFlushDatagrams = 232;

uint32_t read32(const uint8_t *p) {
    return uint32_t{p[0]} << 24 | uint32_t{p[1]} << 16 | uint32_t{p[2]} << 8 | p[3];
}

}  // namespace

Pump::Pump(const qp_sodium &sodium, const qp_config &config, int fd, const uint8_t *seed,
           double now)
    : config_(config), sodium_(sodium), random_(sodium_.blake2b, seed) {
    if (fd >= 0)
        socket_ = std::make_unique<UdpSocket>(fd, config.socket_buffer, config.offload != 0);
    const size_t slots = socket_ ? config.output_max : std::min<size_t>(config.output_max, 256);
    arena_.resize(slots * config.sealed_size_max);
    scratch_.resize(std::max({config.datagram_size_max, config.sealed_size_max, kBareSizeMax}));
    enter(now);
}

Pump::~Pump() {
    for (Slot &slot : slots_) slot.channel.reset();
}

void Pump::enter(double now) {
    const double us = now * 1e6 + 0.5;
    const uint64_t caller_us = static_cast<uint64_t>(static_cast<int64_t>(us)) + kClockOriginUs;
    // Actions between two calls moved the clock on by themselves; it never goes back.
    if (caller_us > caller_us_) {
        caller_us_ = caller_us;
        now_ = now;
    }
    if (socket_) entered_us_ = monotonic_us();
    read_clock();
    received_us_ = now_us_;
    resets_left_ = kResetsPerCall;
}

// A socket's packets are stamped by the machine's clock, so that a program that was held up between
// reading its clock and calling does not look like a queue on the path. Timers run on the caller's
// clock, moved on by what has passed since it was told.
void Pump::read_clock() {
    uint64_t caller_us = caller_us_;
    if (socket_) {
        now_us_ = monotonic_us();
        caller_us += now_us_ - entered_us_;
    } else {
        now_us_ = caller_us;
    }
    now_ms_ = std::max(now_ms_, caller_us / 1000);
}

int64_t Pump::receive(double now, uint32_t control_max, uint32_t bulk_max, qp_batch *out) {
    if (!socket_) return -ENOTSOCK;
    enter(now);
    control_data_.clear();
    control_index_.clear();
    uint32_t taken = 0;
    int got = 0;
    bool drained = false;
    while (!drained) {
        const uint32_t control = static_cast<uint32_t>(control_index_.size());
        if (control >= control_max || taken - control >= bulk_max) break;
        got = socket_->receive(
            control_max - control, bulk_max - (taken - control), &drained,
            [&](uint8_t *data, uint32_t size, const Address &from, uint64_t received_us) {
                received_us_ = received_us && received_us < now_us_ ? received_us : now_us_;
                taken++;
                dispatch(data, size, from);
            });
        if (got < 0) break;
        settle();
        read_clock();
    }
    const int64_t flushed = flush();
    fill(out, control_data_, control_index_);
    if (got < 0) return got;
    return flushed < 0 ? flushed : static_cast<int64_t>(taken);
}

int64_t Pump::inject(double now, const uint8_t *data, const qp_datagram *index, uint32_t count,
                     qp_batch *out) {
    enter(now);
    control_data_.clear();
    control_index_.clear();
    for (uint32_t i = 0; i < count; i++) {
        if (index[i].size > scratch_.size()) continue;
        Address from;
        std::memcpy(from.bytes, index[i].address, sizeof from.bytes);
        // A datagram is opened where it stands, and the caller's bytes are not ours to write to.
        std::memcpy(scratch_.data(), data + index[i].offset, index[i].size);
        dispatch(scratch_.data(), index[i].size, from);
    }
    settle();
    const int64_t flushed = flush();
    fill(out, control_data_, control_index_);
    return flushed < 0 ? flushed : static_cast<int64_t>(count);
}

void Pump::dispatch(uint8_t *data, uint32_t size, const Address &from) {
    if (size >= kCidSize) {
        const auto found = routes_.find(cid_key(data));
        if (found != routes_.end()) {
            if (size > config_.sealed_size_max) {
                counters_.bulk_refused++;
                return;
            }
            dispatch_bulk(*planes_[found->second.plane], found->second.epoch, data, size,
                          from);
            return;
        }
    }
    if (!bare_.empty() && dispatch_bare(data, size, from)) return;
    if (size > 0 && size <= config_.datagram_size_max) keep_control(data, size, from);
}

void Pump::keep_control(const uint8_t *data, uint32_t size, const Address &from) {
    qp_datagram entry;
    entry.offset = static_cast<uint32_t>(control_data_.size());
    entry.size = static_cast<uint16_t>(size);
    std::memcpy(entry.address, from.bytes, sizeof entry.address);
    control_data_.insert(control_data_.end(), data, data + size);
    control_index_.push_back(entry);
    counters_.control_received++;
}

// The peer is heard from another address than we send to. Only the newest datagram counts, so that
// one held up on the old path does not lead back; sending there is not begun here: the address has
// to be shown to be the peer's first, which is the message plane's business.
void Pump::note_path(Plane &plane, const Address &from, uint32_t size) {
    if (from == plane.reported) return;
    plane.reported = from;
    plane.reported_size = static_cast<uint16_t>(size);
    if (plane.moving || from == plane.address) return;
    plane.moving = true;
    moved_.push_back(plane.index);
}

void Pump::dispatch_bulk(Plane &plane, uint32_t epoch, uint8_t *data, uint32_t size,
                         const Address &from) {
    uint8_t *payload;
    Opener &opener = plane.openers[epoch];
    const int64_t newest = opener.replay.largest();
    const int length = opener.open_untrusted(data, size, &payload);
    if (length < 0) {
        counters_.bulk_refused++;
        return;
    }
    counters_.bulk_opened++;
    counters_.bytes_opened += static_cast<uint64_t>(length);
    plane.opened++;
    plane.bytes_opened += static_cast<uint64_t>(length);
    plane.heard_at = now_;
    if (opener.replay.largest() > newest && epoch == plane.current) note_path(plane, from, size);
    if (epoch == plane.current) switch_keys(plane);
    if (static_cast<size_t>(length) < kNumberSize + kPacketHeader) return;
    const uint32_t number = read32(payload);
    const uint8_t *packet = payload + kNumberSize;
    const size_t packet_size = static_cast<size_t>(length) - kNumberSize;
    const auto found = plane.channels.find(number);
    if (found == plane.channels.end()) return packet_for_nobody(plane, number, packet, packet_size);
    Channel &channel = *found->second;
    if (!channel.answers()) return packet_for_nobody(plane, number, packet, packet_size);
    touch(channel);
    channel.receive(packet, packet_size);
}

// A SYN opens a channel; whatever else goes to a channel that is not there is answered with a
// reset, so that the peer need not find out by waiting.
void Pump::packet_for_nobody(Plane &plane, uint32_t number, const uint8_t *packet, size_t size) {
    const uint8_t type = packet[0] >> 4;
    if (type == kPacketReset || (packet[0] & 0xf) != 1) return;
    if (type == kPacketSyn) {
        const bool from_initiator = number % 2 == 0;
        if (from_initiator == plane.initiator) return;  // our own numbers
        if (plane.channels.count(number) || !plane.numbers.is_fresh(number / 2)) return;
        return accept(plane, number, packet, size);
    }
    send_reset(plane, number, packet);
}

void Pump::accept(Plane &plane, uint32_t number, const uint8_t *packet, size_t size) {
    if (plane.incoming >= config_.incoming_max ||
        plane.leaving >= kLeavingTimes * config_.incoming_max) {
        // No answer: the peer repeats its SYN, and by then there may be room.
        counters_.refused_channels++;
        return;
    }
    Channel *channel = add_channel(plane, number, true);
    begin(channel, [&] { channel->receive(packet, size); });
    if (!channel->answers()) return delete_channel(channel);
    if (!plane.bare) plane.numbers.mark(number / 2);
    event(*channel, kAccepted);
    touch(*channel);
}

void Pump::send_reset(Plane &plane, uint32_t number, const uint8_t *packet) {
    if (resets_left_ == 0) return;
    resets_left_--;
    uint8_t reset[kPacketHeader] = {};
    reset[0] = kPacketReset << 4 | 1;
    std::memcpy(reset + 2, packet + 2, 2);    // its connection id
    std::memcpy(reset + 18, packet + 16, 2);  // acknowledges its sequence number
    if (plane.bare)
        put_bare(plane, reset, sizeof reset);
    else
        seal_packet(plane, number, reset, sizeof reset);
}

void Pump::send_packet(Channel &channel, const uint8_t *packet, size_t size) {
    Plane &plane = *planes_[channel.plane];
    if (plane.bare) return send_bare(channel, plane, packet, size);
    seal_packet(plane, channel.number, packet, size);
}

// Where the next datagram of at most `size` bytes goes, or nothing if it has to be dropped.
uint8_t *Pump::place(size_t size) {
    if (size > config_.sealed_size_max) return nullptr;  // packet sizes are chosen to fit
    if (outgoing_.size() >= kFlushDatagrams && !blocked_) {
        flush();
        read_clock();
    }
    if (outgoing_.size() >= config_.output_max) {
        counters_.dropped_sends++;
        return nullptr;
    }
    try {
        if (arena_used_ + size > arena_.size()) arena_.resize(arena_.size() * 2);
        if (outgoing_.size() == outgoing_.capacity()) outgoing_.reserve(2 * outgoing_.size() + 64);
    } catch (const std::bad_alloc &) {
        // libutp is halfway through something; to it this is a datagram that was lost.
        counters_.dropped_sends++;
        return nullptr;
    }
    return arena_.data() + arena_used_;
}

void Pump::seal_packet(Plane &plane, uint32_t number, const uint8_t *packet, size_t size) {
    uint8_t *datagram = place(size + kNumberSize + plane.sealer.overhead());
    if (!datagram) return;
    uint8_t *payload = datagram + kHeadSize;
    for (uint32_t i = 0; i < kNumberSize; i++)
        payload[i] = static_cast<uint8_t>(number >> (8 * (kNumberSize - 1 - i)));
    std::memcpy(payload + kNumberSize, packet, size);
    const uint32_t sealed = plane.sealer.seal(datagram, static_cast<uint32_t>(size + kNumberSize));
    outgoing_.push_back({static_cast<uint32_t>(arena_used_), sealed, plane.address});
    arena_used_ += sealed;
    counters_.bulk_sealed++;
    counters_.bytes_sealed += size + kNumberSize;
    plane.bytes_sealed += size + kNumberSize;
}

// Gives what was sealed to the kernel; in memory mode it waits for collect().
int64_t Pump::flush() {
    if (!socket_ || outgoing_.empty()) return 0;
    const int64_t sent = socket_->send(arena_.data(), outgoing_.data(), outgoing_.size(), true);
    if (sent < 0) {
        outgoing_.clear();
        arena_used_ = 0;
        return sent;
    }
    blocked_ = static_cast<size_t>(sent) < outgoing_.size();
    if (!blocked_) {
        outgoing_.clear();
        arena_used_ = 0;
        return 0;
    }
    if (sent == 0) return 0;
    const uint32_t base = outgoing_[static_cast<size_t>(sent)].offset;
    std::memmove(arena_.data(), arena_.data() + base, arena_used_ - base);
    arena_used_ -= base;
    outgoing_.erase(outgoing_.begin(), outgoing_.begin() + sent);
    for (Outgoing &waiting : outgoing_) waiting.offset -= base;
    return 0;
}

int64_t Pump::send(const uint8_t *data, const qp_datagram *index, uint32_t count) {
    std::vector<Outgoing> queue;
    queue.reserve(count);
    for (uint32_t i = 0; i < count; i++) {
        Outgoing item{index[i].offset, index[i].size, {}};
        std::memcpy(item.to.bytes, index[i].address, sizeof item.to.bytes);
        queue.push_back(item);
    }
    if (socket_) return socket_->send(data, queue.data(), queue.size(), false);
    for (uint32_t i = 0; i < count; i++) {
        if (outgoing_.size() >= config_.output_max) return i;
        while (arena_used_ + queue[i].size > arena_.size()) arena_.resize(arena_.size() * 2);
        std::memcpy(arena_.data() + arena_used_, data + queue[i].offset, queue[i].size);
        outgoing_.push_back({static_cast<uint32_t>(arena_used_), queue[i].size, queue[i].to});
        arena_used_ += queue[i].size;
    }
    return count;
}

int64_t Pump::collect(qp_batch *out) {
    if (socket_) return -EOPNOTSUPP;
    output_data_.assign(arena_.begin(), arena_.begin() + static_cast<int64_t>(arena_used_));
    output_index_.clear();
    for (const Outgoing &item : outgoing_) {
        qp_datagram entry{item.offset, static_cast<uint16_t>(item.size), {}};
        std::memcpy(entry.address, item.to.bytes, sizeof entry.address);
        output_index_.push_back(entry);
    }
    outgoing_.clear();
    arena_used_ = 0;
    fill(out, output_data_, output_index_);
    return static_cast<int64_t>(output_index_.size());
}

void Pump::fill(qp_batch *out, const std::vector<uint8_t> &data,
                const std::vector<qp_datagram> &index) {
    out->data = data.data();
    out->index = index.data();
    out->data_size = data.size();
    out->count = static_cast<uint32_t>(index.size());
    out->events = static_cast<uint32_t>(listed_.size() + orphaned_.size() + moved_.size());
}

int64_t Pump::handle_timeout(double now) {
    enter(now);
    retire_epochs();
    for (uint32_t fired = 0; fired < kTimersPerCall && !timers_.empty(); fired++) {
        if (timers_.front().at > now_ms_) break;
        const Timer timer = timers_.front();
        std::pop_heap(timers_.begin(), timers_.end(), std::greater<>());
        timers_.pop_back();
        const Slot &slot = slots_[timer.index];
        Channel *channel = slot.channel.get();
        if (!channel || slot.generation != timer.generation || channel->queued_ms != timer.at)
            continue;
        channel->queued_ms = UINT64_MAX;
        touch(*channel);
        if (channel->answers() && channel->next_timeout() <= now_ms_) channel->timeout();
    }
    settle();
    const int64_t flushed = flush();
    return flushed < 0 ? flushed : static_cast<int64_t>(listed_.size() + orphaned_.size());
}

double Pump::next_timeout() {
    uint64_t at = UINT64_MAX;
    if (blocked_) at = now_ms_ + kBlockedMs;
    for (const uint32_t index : retiring_) at = std::min(at, planes_[index]->retire_ms);
    if (!timers_.empty()) at = std::min(at, timers_.front().at);
    if (at == UINT64_MAX) return -1;
    if (at <= caller_us_ / 1000) return now_;
    return static_cast<double>(static_cast<int64_t>(at * 1000 - kClockOriginUs)) / 1e6;
}

void Pump::buffered(int64_t change) {
    buffered_ = static_cast<uint64_t>(static_cast<int64_t>(buffered_) + change);
    counters_.buffered_max = std::max(counters_.buffered_max, buffered_);
}

void Pump::counters(qp_counters *out) const {
    *out = counters_;
    out->buffered = buffered_;
    out->held = pieces_.held();
    out->planes = static_cast<uint32_t>(planes_.size() - free_planes_.size());
    out->channels = static_cast<uint32_t>(slots_.size() - free_slots_.size());
    if (!socket_) return;
    out->receive_calls = socket_->counters.receive_calls;
    out->receive_messages = socket_->counters.receive_messages;
    out->send_calls = socket_->counters.send_calls;
    out->send_messages = socket_->counters.send_messages;
    out->segmentation = socket_->segmentation();
    out->narrow = socket_->narrow();
    out->coalescing = socket_->coalescing();
}

}  // namespace quorate
