// One µTP connection inside a plane: a libutp context of its own, bounded buffers on both sides of
// it, and the events its reader and writer wait for. A channel never touches the socket or a key:
// it asks its host.
#pragma once

#include <cstdint>

#include "abi.h"
#include "queue.h"
#include "utp_hooks.h"

namespace quorate {

constexpr uint32_t kPacketHeader = 20;

enum EventKind : int32_t {
    kAccepted = 0,
    kConnected = 1,
    kReadable = 2,
    kWritable = 3,
    kEof = 4,
    kClosed = 5,
    kFailed = 6,
    kKinds = 7,
};

enum Reason : int32_t {
    kNone = 0,
    kRefused = 1,
    kReset = 2,
    kTimedOut = 3,
    kPlaneRemoved = 4,
    kAborted = 5,
};

class Channel;

// What a channel needs from the pump.
class ChannelHost {
  public:
    virtual ~ChannelHost() = default;
    virtual void send_packet(Channel &channel, const uint8_t *packet, size_t size) = 0;
    virtual void event(Channel &channel, EventKind kind) = 0;
    virtual uint64_t now_ms() const = 0;
    virtual uint64_t now_us() const = 0;
    virtual uint64_t received_us() const = 0;
    virtual uint32_t random() = 0;
    virtual void buffered(int64_t change) = 0;
    virtual bool budget_left(size_t count) const = 0;
    virtual Pieces &pieces() = 0;  // outlives the channel
};

struct ChannelLimits {
    uint32_t packet_size_max;  // of a µTP packet, header and all
    uint32_t received_size_max;  // of one the peer sends
    uint32_t send_buffer, send_window, receive_buffer;
    uint32_t silent_ms = UTP_SILENT_MS;  // a reader gives up on a peer that says nothing
};

class Channel {
  public:
    Channel(ChannelHost &host, const ChannelLimits &limits, uint32_t plane, uint32_t number,
            bool incoming);
    ~Channel();
    Channel(const Channel &) = delete;
    Channel &operator=(const Channel &) = delete;

    const uint32_t plane;
    uint32_t number;
    const bool incoming;
    uint32_t index = 0;           // place and generation in the pump's table
    uint32_t generation = 0;
    uint32_t events = 0;          // kinds waiting to be polled, one bit each
    int32_t reason = kNone;
    bool listed = false;          // in the pump's list of channels with events
    bool touched = false;         // to be settled before the call returns
    bool leaving = false;         // counted as such by its plane
    uint64_t queued_ms = UINT64_MAX;  // its earliest entry in the pump's heap of timers

    void connect();
    void receive(const uint8_t *packet, size_t size);
    void timeout();
    // Moves what can be moved; after anything happened. Never called from inside libutp.
    void settle();
    void path_changed();

    size_t write(const uint8_t *data, size_t size);
    size_t read(uint8_t *data, size_t size);
    size_t readable() const { return received_.size(); }
    void finish();
    void release(bool abort);
    void fail(Reason why);

    bool released() const { return released_; }
    bool failed() const { return failed_; }
    bool finishing() const { return finishing_; }
    // Nobody refers to it any more, and it only answers repeated last packets.
    bool over() const { return released_ && closed_; }
    // Nobody refers to it any more and nothing is left to do: it may be deleted.
    bool dead() const { return released_ && !socket_; }
    bool answers() const { return socket_ != nullptr; }
    uint64_t next_timeout() const;
    void figures(qp_channel_figures *out) const;
    bool has_room(size_t ahead, size_t count) const;

  private:
    static uint64 on_sendto(utp_callback_arguments *a);
    static uint64 on_read(utp_callback_arguments *a);
    static uint64 on_state_change(utp_callback_arguments *a);
    static uint64 on_error(utp_callback_arguments *a);
    static uint64 on_accept(utp_callback_arguments *a);
    static uint64 on_firewall(utp_callback_arguments *a);
    static uint64 get_read_buffer_size(utp_callback_arguments *a);
    static uint64 get_udp_mtu(utp_callback_arguments *a);
    static uint64 get_udp_overhead(utp_callback_arguments *a);
    static uint64 get_milliseconds(utp_callback_arguments *a);
    static uint64 get_microseconds(utp_callback_arguments *a);
    static uint64 get_random(utp_callback_arguments *a);
    static Channel &self(utp_callback_arguments *a);

    uint64_t silent_at() const;
    void destroy_socket();
    void out_of_memory();
    ssize_t write_packets(utp_iovec *spans, size_t count);
    size_t packet_payload() const { return limits_.packet_size_max - kPacketHeader; }
    void drain_sends();
    void settle_end();
    void count_buffered();
    void advertise();

    ChannelHost &host_;
    const ChannelLimits limits_;
    utp_context *context_ = nullptr;
    UTPSocket *socket_ = nullptr;
    Queue received_, waiting_;
    bool connected_ = false;
    bool finishing_ = false;     // the writer is done
    bool finish_sent_ = false;
    bool eof_ = false;
    bool closed_ = false;        // both directions are done
    bool failed_ = false;
    bool released_ = false;
    bool failing_ = false;       // libutp reported an error; handled once it has returned
    bool wants_readable_ = true;
    bool wants_writable_ = false;
    Reason failing_reason_ = kNone;
    uint64_t leave_ms_ = UINT64_MAX;
    size_t counted_ = 0;

    friend uint64_t(::utp_hook_receive_microseconds)(utp_context *);
    friend bool(::utp_hook_has_room)(utp_context *, size_t, size_t);
};

}  // namespace quorate
