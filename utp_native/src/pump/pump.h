// The pump: the one reader and writer of a socket, or of datagrams from memory. It tells bulk
// datagrams by their connection id, opens and seals them, runs libutp, and hands everything else to
// Python. Not safe by itself for several threads: abi.cpp holds its lock around every call.
#pragma once

#include <memory>
#include <mutex>
#include <queue>
#include <vector>

#include "abi.h"
#include "plane.h"

namespace quorate {

class Pump final : public ChannelHost {
  public:
    Pump(const qp_sodium &sodium, const qp_config &config, int fd, const uint8_t *seed,
         double now);
    ~Pump() override;

    int64_t receive(double now, uint32_t control_max, uint32_t bulk_max, qp_batch *out);
    int64_t inject(double now, const uint8_t *data, const qp_datagram *index, uint32_t count,
                   qp_batch *out);
    int64_t send(const uint8_t *data, const qp_datagram *index, uint32_t count);
    int64_t collect(qp_batch *out);
    int64_t handle_timeout(double now);
    double next_timeout();

    int64_t add_plane(const qp_keys &keys, const uint8_t *address, bool initiator);
    int64_t add_bare_plane(const uint8_t *address);
    int64_t move_plane(int64_t handle, const uint8_t *address);
    int64_t rekey_plane(int64_t handle, const qp_keys &keys, bool send_now, double retire_s);
    int64_t switch_plane(int64_t handle);
    int64_t remove_plane(int64_t handle);

    int64_t open_channel(int64_t plane);
    int64_t write(int64_t channel, const uint8_t *data, size_t size);
    int64_t read(int64_t channel, uint8_t *data, size_t size);
    int64_t readable(int64_t channel);
    int64_t finish(int64_t channel);
    int64_t close_channel(int64_t channel, bool abort);
    int64_t poll_events(qp_event *events, uint32_t count);
    int64_t poll_paths(qp_path *paths, uint32_t count);

    void counters(qp_counters *out) const;
    int64_t plane_figures(int64_t plane, qp_plane_figures *out) const;
    int64_t channel_figures(int64_t channel, qp_channel_figures *out) const;

    std::mutex mutex;

  private:
    struct Slot {
        uint32_t generation = 0;
        std::unique_ptr<Channel> channel;
    };
    struct Timer {
        uint64_t at;
        uint32_t index, generation;
        bool operator>(const Timer &other) const { return at > other.at; }
    };

    // ChannelHost
    void send_packet(Channel &channel, const uint8_t *packet, size_t size) override;
    void event(Channel &channel, EventKind kind) override;
    uint64_t now_ms() const override { return now_ms_; }
    uint64_t now_us() const override { return now_us_; }
    uint64_t received_us() const override { return received_us_; }
    uint32_t random() override { return random_.next(); }
    void buffered(int64_t change) override;
    bool budget_left(size_t count) const override {
        return buffered_ + count <= config_.receive_budget;
    }
    Pieces &pieces() override { return pieces_; }

    // pump.cpp: datagrams and time
    void enter(double now);
    void read_clock();
    void dispatch(uint8_t *data, uint32_t size, const Address &from);
    void dispatch_bulk(Plane &plane, uint32_t epoch, uint8_t *data, uint32_t size,
                       const Address &from);
    void note_path(Plane &plane, const Address &from, uint32_t size);
    void packet_for_nobody(Plane &plane, uint32_t number, const uint8_t *packet, size_t size);
    void keep_control(const uint8_t *data, uint32_t size, const Address &from);
    void accept(Plane &plane, uint32_t number, const uint8_t *packet, size_t size);
    void send_reset(Plane &plane, uint32_t number, const uint8_t *packet);
    uint8_t *place(size_t size);
    void seal_packet(Plane &plane, uint32_t number, const uint8_t *packet, size_t size);
    int64_t flush();
    void fill(qp_batch *out, const std::vector<uint8_t> &data,
              const std::vector<qp_datagram> &index);
    void retire_epochs();

    // pump_bare.cpp: plain BEP 29
    int64_t open_bare(Plane &plane);
    bool dispatch_bare(const uint8_t *data, uint32_t size, const Address &from);
    void put_bare(Plane &plane, const uint8_t *packet, size_t size);
    void send_bare(Channel &channel, Plane &plane, const uint8_t *packet, size_t size);

    // pump_tables.cpp: planes and channels by handle
    Plane *new_plane(const uint8_t *address);
    Plane *find_plane(int64_t handle);
    const Plane *find_plane(int64_t handle) const;
    Channel *find_channel(int64_t handle) const;
    static int64_t handle_of(uint32_t index, uint32_t generation) {
        return static_cast<int64_t>(generation) << 24 | index;
    }
    Channel *add_channel(Plane &plane, uint32_t number, bool incoming);
    void delete_channel(Channel *channel);
    // A channel's first act. If it throws nobody has heard of the channel, and it goes.
    template <typename Act> void begin(Channel *channel, Act act) {
        try {
            act();
        } catch (...) {
            delete_channel(channel);
            throw;
        }
    }
    bool install(Plane &plane, uint32_t epoch, const qp_keys &keys);
    static void switch_keys(Plane &plane);
    void erase_epoch(Plane &plane, uint32_t epoch);
    ChannelLimits limits(const Plane &plane) const;

    // pump_events.cpp: what there is to tell, and when a channel is looked at again
    void touch(Channel &channel);
    void settle();
    void settle(Channel &channel);
    void arm(Channel &channel);

    const qp_config config_;
    const Sodium sodium_;
    Random random_;
    std::unique_ptr<UdpSocket> socket_;

    uint64_t now_ms_ = 0, now_us_ = 0, received_us_ = 0;
    uint64_t caller_us_ = 0, entered_us_ = 0;  // the last time we were told, and our clock then
    double now_ = 0;
    bool blocked_ = false;  // the socket was full

    std::vector<std::unique_ptr<Plane>> planes_;
    std::vector<uint32_t> free_planes_;
    std::unordered_map<uint64_t, Route> routes_;
    std::unordered_map<Address, uint32_t, AddressHash> bare_;
    std::vector<uint32_t> retiring_;
    std::vector<uint32_t> moved_;  // planes whose path is to be polled

    Pieces pieces_;  // before the channels, which give theirs back
    std::vector<Slot> slots_;
    std::vector<uint32_t> free_slots_;
    std::vector<Channel *> touched_;
    std::vector<Timer> timers_;  // a heap, the earliest first; stale entries are skipped
    std::vector<uint32_t> listed_;
    std::vector<qp_event> orphaned_;  // events of channels that went with their plane

    std::vector<uint8_t> arena_;
    std::vector<Outgoing> outgoing_;
    size_t arena_used_ = 0;
    std::vector<uint8_t> control_data_, output_data_, scratch_;
    std::vector<qp_datagram> control_index_, output_index_;
    uint32_t resets_left_ = 0;

    uint64_t buffered_ = 0;
    qp_counters counters_{};
};

}  // namespace quorate
