// The shipped channel, patched libutp and all, as an end of a simulated flow. Only sealing is left
// out: it takes no virtual time.
#include <algorithm>

#include "channel.h"
#include "party.h"

namespace quorate::bottleneck {

namespace {

constexpr uint32_t kSendBuffer = 1 << 20, kWindow = 16 << 20;  // as PumpConfig has them

class End : public Party, public ChannelHost {
  public:
    End(World &world, Wire &wire, const Limits &limits, bool incoming)
        : world_(world), wire_(wire), left_(limits.bytes ? limits.bytes : UINT64_MAX),
          wanted_(limits.bytes),
          channel_(*this, {limits.packet_size, limits.packet_size, kSendBuffer, kWindow, kWindow}, 0, 0, incoming) {}

    void start() override { channel_.connect(); }
    void receive(const uint8_t *packet, size_t size) override { channel_.receive(packet, size); }
    void timeout() override {
        if (channel_.next_timeout() <= now_ms()) channel_.timeout();
    }
    uint64_t next_timeout_us() const override {
        const uint64_t at = channel_.next_timeout();
        return at == UINT64_MAX ? kNeverUs : at * 1000;
    }
    uint64_t delivered() const override { return delivered_; }
    uint32_t slowdowns() const override {
        qp_channel_figures figures;
        channel_.figures(&figures);
        return figures.slowdowns;
    }
    bool ended() const override { return wanted_ && delivered_ == wanted_; }

    void settle() override {
        if (channel_.incoming) {
            uint8_t piece[kPiece];
            while (const size_t got = channel_.read(piece, sizeof piece)) delivered_ += got;
        } else {
            while (left_) {
                const size_t size = static_cast<size_t>(std::min<uint64_t>(left_, kPiece));
                const size_t taken = channel_.write(kZeros, size);
                left_ -= taken;
                if (taken < size) break;
            }
            if (!left_ && !channel_.finishing()) channel_.finish();
        }
        channel_.settle();
    }

    void send_packet(Channel &, const uint8_t *packet, size_t size) override {
        wire_.send(packet, size);
    }
    void event(Channel &, EventKind) override {}
    uint64_t now_ms() const override { return world_.now_us() / 1000; }
    uint64_t now_us() const override { return world_.now_us(); }
    uint64_t received_us() const override { return world_.received_us(); }
    uint32_t random() override { return world_.random(); }
    void buffered(int64_t) override {}
    bool budget_left(size_t) const override { return true; }
    Pieces &pieces() override { return pieces_; }

  private:
    World &world_;
    Wire &wire_;
    uint64_t left_, delivered_ = 0;
    const uint64_t wanted_;
    Pieces pieces_;
    Channel channel_;
};

}  // namespace

std::unique_ptr<Party> make_sender(World &world, Party::Wire &wire, const Limits &limits) {
    return std::make_unique<End>(world, wire, limits, false);
}
std::unique_ptr<Party> make_reader(World &world, Party::Wire &wire, const Limits &limits) {
    return std::make_unique<End>(world, wire, limits, true);
}

}  // namespace quorate::bottleneck
