#include "channel.h"

#include <netinet/in.h>

#include <algorithm>
#include <new>

using quorate::Channel;

// libutp asks these two in the middle of a packet; the context's user data is its channel.
uint64_t utp_hook_receive_microseconds(utp_context *ctx) {
    return static_cast<Channel *>(utp_context_get_userdata(ctx))->host_.received_us();
}

bool utp_hook_has_room(utp_context *ctx, size_t ahead, size_t count) {
    return static_cast<Channel *>(utp_context_get_userdata(ctx))->has_room(ahead, count);
}

namespace quorate {

namespace {

// A closed channel goes on acknowledging the peer's last packets for a while: were they answered
// with a reset, the peer would take a complete transfer for a broken one.
constexpr uint64_t kTimeWaitMs = 2000;
// A closed channel whose last bytes the peer does not take is given up.
constexpr uint64_t kLingerMs = 60000;

// Pieces of the send buffer given to libutp at once: as many as it takes (patch 12).
constexpr size_t kSpans = 4;

// libutp wants an address for each socket. A context has one connection, so any will do.
sockaddr_in synthetic_address() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(1);
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}
const sockaddr_in kAddress = synthetic_address();
const sockaddr *const kSockaddr = reinterpret_cast<const sockaddr *>(&kAddress);

}  // namespace

Channel::Channel(ChannelHost &host, const ChannelLimits &limits, uint32_t plane_index,
                 uint32_t channel_number, bool is_incoming)
    : plane(plane_index), number(channel_number), incoming(is_incoming), host_(host),
      limits_(limits), received_(host.pieces()), waiting_(host.pieces()) {
    context_ = utp_init(2);
    if (!context_) throw std::bad_alloc();
    utp_context_set_userdata(context_, this);
    utp_context_set_option(context_, UTP_SNDBUF, static_cast<int>(limits.send_window));
    utp_context_set_option(context_, UTP_RCVBUF, static_cast<int>(limits.receive_buffer));
    utp_set_callback(context_, UTP_SENDTO, on_sendto);
    utp_set_callback(context_, UTP_ON_READ, on_read);
    utp_set_callback(context_, UTP_ON_STATE_CHANGE, on_state_change);
    utp_set_callback(context_, UTP_ON_ERROR, on_error);
    utp_set_callback(context_, UTP_GET_READ_BUFFER_SIZE, get_read_buffer_size);
    utp_set_callback(context_, UTP_GET_UDP_MTU, get_udp_mtu);
    utp_set_callback(context_, UTP_GET_UDP_OVERHEAD, get_udp_overhead);
    utp_set_callback(context_, UTP_GET_MILLISECONDS, get_milliseconds);
    utp_set_callback(context_, UTP_GET_MICROSECONDS, get_microseconds);
    utp_set_callback(context_, UTP_GET_RANDOM, get_random);
    if (incoming) {
        utp_set_callback(context_, UTP_ON_ACCEPT, on_accept);
        utp_set_callback(context_, UTP_ON_FIREWALL, on_firewall);
    }
}

Channel::~Channel() {
    if (context_) utp_destroy(context_);  // destroys the socket, which calls back
    host_.buffered(-static_cast<int64_t>(counted_));
}

Channel &Channel::self(utp_callback_arguments *a) {
    return *static_cast<Channel *>(utp_context_get_userdata(a->context));
}

uint64 Channel::on_sendto(utp_callback_arguments *a) {
    Channel &c = self(a);
    c.host_.send_packet(c, a->buf, a->len);
    return 0;
}

uint64 Channel::on_read(utp_callback_arguments *a) {
    Channel &c = self(a);
    if (c.eof_ || c.released_) return 0;
    // has_room() was asked before; the limit here is what is left of the bound.
    try {
        c.received_.push(a->buf, a->len, c.limits_.receive_buffer);
    } catch (const std::bad_alloc &) {
        c.out_of_memory();  // libutp takes these bytes for delivered, so the stream has a hole now
        return 0;
    }
    if (c.wants_readable_) {
        c.wants_readable_ = false;
        c.host_.event(c, kReadable);
    }
    return 0;
}

uint64 Channel::on_state_change(utp_callback_arguments *a) {
    Channel &c = self(a);
    if (a->state == UTP_STATE_EOF && !c.eof_) {
        c.eof_ = true;
        c.host_.event(c, kEof);
    } else if (a->state == UTP_STATE_DESTROYING) {
        c.socket_ = nullptr;
    }
    return 0;
}

uint64 Channel::on_error(utp_callback_arguments *a) {
    Channel &c = self(a);
    c.failing_ = true;
    c.failing_reason_ = a->error_code == UTP_ETIMEDOUT ? kTimedOut
                        : c.connected_                 ? kReset
                                                       : kRefused;
    return 0;
}

uint64 Channel::on_accept(utp_callback_arguments *a) {
    self(a).socket_ = a->socket;
    return 0;
}

uint64 Channel::on_firewall(utp_callback_arguments *a) { return self(a).socket_ != nullptr; }

// What is left over of libutp's idea of the buffer becomes the window. Less than two packets are
// not worth a window: a peer would send crumbs.
uint64 Channel::get_read_buffer_size(utp_callback_arguments *a) {
    Channel &c = self(a);
    const size_t bound = c.limits_.receive_buffer;
    const size_t used = c.released_ ? 0 : c.received_.size();
    if (used + 2 * c.limits_.received_size_max > bound || !c.host_.budget_left(0)) return bound;
    return used;
}

uint64 Channel::get_udp_mtu(utp_callback_arguments *a) { return self(a).limits_.packet_size_max; }
uint64 Channel::get_udp_overhead(utp_callback_arguments *) { return 0; }
uint64 Channel::get_milliseconds(utp_callback_arguments *a) { return self(a).host_.now_ms(); }
uint64 Channel::get_microseconds(utp_callback_arguments *a) { return self(a).host_.now_us(); }
uint64 Channel::get_random(utp_callback_arguments *a) { return self(a).host_.random(); }

// A packet that is ahead of missing ones leaves room for them: a buffer full of what came too early
// would refuse the very packet all of it waits for.
bool Channel::has_room(size_t ahead, size_t count) const {
    const size_t before = received_.size() + ahead * limits_.received_size_max;
    if (before + count > limits_.receive_buffer) return false;
    return host_.budget_left(count) || before == 0;
}

void Channel::connect() {
    socket_ = utp_create_socket(context_);
    utp_connect(socket_, kSockaddr, sizeof kAddress);
}

void Channel::receive(const uint8_t *packet, size_t size) {
    utp_process_udp(context_, packet, size, kSockaddr, sizeof kAddress);
}

void Channel::timeout() {
    if (host_.now_ms() >= silent_at()) {
        failing_ = true;
        failing_reason_ = kTimedOut;
        return;
    }
    if (socket_) utp_socket_probe(socket_);
    utp_check_timeouts(context_);
}

// When to give up on a peer that has vanished while we only read: nothing of ours is in flight then,
// so no timer of libutp's would find out. One that has finished owes us nothing any more.
uint64_t Channel::silent_at() const {
    if (!socket_ || !connected_ || eof_ || released_) return UINT64_MAX;
    return utp_socket_heard_ms(socket_) + limits_.silent_ms;
}

void Channel::path_changed() {
    if (socket_) utp_socket_path_changed(socket_);
}

// Memory ran out where libutp or the stream is halfway through something.
void Channel::out_of_memory() {
    failing_ = true;
    failing_reason_ = kAborted;
}

// As utp_writev(). An exception from within leaves it open which bytes libutp has.
ssize_t Channel::write_packets(utp_iovec *spans, size_t count) {
    try {
        return utp_writev(socket_, spans, count);
    } catch (const std::bad_alloc &) {
        out_of_memory();
        return 0;
    }
}

void Channel::drain_sends() {
    if (!socket_ || !utp_socket_connected(socket_)) return;
    if (!connected_) {
        connected_ = true;
        if (!incoming) host_.event(*this, kConnected);
    }
    utp_socket_repair(socket_);
    utp_socket_flush(socket_, false);
    while (!waiting_.empty() && !failing_) {
        utp_iovec spans[kSpans];
        const size_t count = waiting_.spans(spans, kSpans);
        size_t size = 0;
        for (size_t i = 0; i < count; i++) size += spans[i].iov_len;
        // No packet ends where a piece does: what is short might be sent so.
        if (size < waiting_.size()) spans[count - 1].iov_len -= size % packet_payload();
        const ssize_t taken = write_packets(spans, count);
        if (taken <= 0) break;
        waiting_.drop(static_cast<size_t>(taken));
    }
    if (failing_) return;
    if (waiting_.empty()) {
        if (finishing_ && !finish_sent_) {
            finish_sent_ = true;
            utp_shutdown(socket_, SHUT_WR);
        }
        utp_socket_flush(socket_, true);
    }
    if (wants_writable_ && !finishing_ && waiting_.size() <= limits_.send_buffer / 2) {
        wants_writable_ = false;
        host_.event(*this, kWritable);
    }
}

void Channel::settle() {
    if (socket_ && !failing_) drain_sends();
    if (socket_ && !failing_) {
        if (!released_) advertise();
        utp_issue_deferred_acks(context_);
    }
    if (failing_) {
        failing_ = false;
        fail(failing_reason_);
    }
    settle_end();
    count_buffered();
}

// Has the channel come to an end of its own?
void Channel::settle_end() {
    if (!socket_) return;
    const bool sent = utp_socket_fin_acked(socket_);
    const uint64_t now = host_.now_ms();
    if (sent && eof_ && !closed_) {
        closed_ = true;
        utp_socket_sent_all(socket_);
        leave_ms_ = now + kTimeWaitMs;
        if (!released_) host_.event(*this, kClosed);
    }
    if (!released_) return;
    if (sent && !eof_) return destroy_socket();  // what the peer still sends meets a reset
    if (now < leave_ms_) return;
    if (!closed_) utp_socket_send_reset(socket_);
    destroy_socket();
}

void Channel::fail(Reason why) {
    if (socket_) destroy_socket();
    if (failed_ || closed_) return;
    failed_ = true;
    reason = why;
    waiting_.clear();
    if (!released_) host_.event(*this, kFailed);
}

void Channel::destroy_socket() {
    if (!socket_) return;
    utp_destroy(context_);
    context_ = nullptr;
    socket_ = nullptr;
}

// Tells the peer of room that a reader has made, once it is a quarter of the buffer or all of it.
void Channel::advertise() {
    const size_t free = limits_.receive_buffer - received_.size();
    const uint64_t told = utp_socket_window_advertised(socket_);
    if (told >= free) return;
    if (free - told >= limits_.receive_buffer / 4 || (received_.empty() && told < free / 2))
        utp_read_drained(socket_);
}

void Channel::count_buffered() {
    const size_t count = received_.size() + (socket_ ? utp_socket_reordered(socket_) : 0);
    host_.buffered(static_cast<int64_t>(count) - static_cast<int64_t>(counted_));
    counted_ = count;
}

size_t Channel::write(const uint8_t *data, size_t size) {
    size_t taken = 0;
    // Straight into packets while the window is open; the rest waits in our buffer.
    if (socket_ && connected_ && waiting_.empty() && utp_socket_connected(socket_)) {
        while (taken < size) {
            utp_iovec rest{const_cast<uint8_t *>(data + taken), size - taken};
            const ssize_t count = write_packets(&rest, 1);
            if (count <= 0) break;
            taken += static_cast<size_t>(count);
        }
    }
    if (!failing_) taken += waiting_.push(data + taken, size - taken, limits_.send_buffer);
    if (taken < size) wants_writable_ = true;
    return taken;
}

size_t Channel::read(uint8_t *data, size_t size) {
    const size_t count = received_.pop(data, size);
    if (received_.empty()) wants_readable_ = true;
    return count;
}

void Channel::finish() { finishing_ = true; }

void Channel::release(bool abort) {
    released_ = true;
    events = 0;
    received_.clear();
    if (!socket_) return;
    // One that never got through and has nothing to deliver is given up at once.
    if (abort || (!connected_ && waiting_.empty())) {
        utp_socket_send_reset(socket_);
        destroy_socket();
        return;
    }
    finishing_ = true;
    utp_shutdown(socket_, SHUT_RD);
    if (!closed_) leave_ms_ = host_.now_ms() + kLingerMs;
}

uint64_t Channel::next_timeout() const {
    if (!socket_) return UINT64_MAX;
    const uint64_t at = std::min(utp_socket_next_timeout(socket_, !waiting_.empty()), silent_at());
    return released_ && leave_ms_ < at ? leave_ms_ : at;
}

void Channel::figures(qp_channel_figures *out) const {
    *out = {};
    out->send_buffered = waiting_.size();
    out->receive_buffered = received_.size();
    out->connected = connected_;
    if (!socket_) return;
    UtpFigures f{};
    utp_socket_figures(socket_, &f);
    out->window = f.window;
    out->in_flight = f.in_flight;
    out->reordered = f.reordered;
    out->peer_window = f.peer_window;
    out->rtt_ms = f.rtt_ms;
    out->rto_ms = f.rto_ms;
    out->queueing_delay_us = f.queueing_delay_us;
    out->slow_start = f.slow_start;
    out->clock_drift = f.clock_drift;
    out->slowdowns = f.slowdowns;
    out->packet_blocks = f.packet_blocks;
}

}  // namespace quorate
