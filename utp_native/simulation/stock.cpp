// The pinned libutp, not patched, as an end of a simulated flow, driven as its header asks for.
#include <netinet/in.h>

#include <algorithm>

#include "party.h"
#include "utp.h"

namespace quorate::bottleneck {

namespace {

constexpr uint64_t kCheckUs = 500000;  // utp.h: utp_check_timeouts is called every 500 ms
constexpr int kBuffer = 16 << 20;      // far above its default of 1 MiB

sockaddr_in address() {
    sockaddr_in out{};
    out.sin_family = AF_INET;
    out.sin_port = htons(1);
    out.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return out;
}
const sockaddr_in kAddress = address();
const sockaddr *const kSockaddr = reinterpret_cast<const sockaddr *>(&kAddress);

class End : public Party {
  public:
    End(World &world, Wire &wire, const Limits &limits, bool incoming)
        : world_(world), wire_(wire), packet_size_(limits.packet_size),
          left_(limits.bytes ? limits.bytes : UINT64_MAX), wanted_(limits.bytes),
          incoming_(incoming), context_(utp_init(2)) {
        utp_context_set_userdata(context_, this);
        utp_context_set_option(context_, UTP_SNDBUF, kBuffer);
        utp_context_set_option(context_, UTP_RCVBUF, kBuffer);
        for (const int callback :
             {UTP_SENDTO, UTP_ON_READ, UTP_ON_STATE_CHANGE, UTP_ON_ERROR, UTP_ON_ACCEPT,
              UTP_GET_UDP_MTU, UTP_GET_UDP_OVERHEAD, UTP_GET_MILLISECONDS, UTP_GET_MICROSECONDS,
              UTP_GET_RANDOM})
            utp_set_callback(context_, callback, [](utp_callback_arguments *a) -> uint64 {
                return static_cast<End *>(utp_context_get_userdata(a->context))->called(*a);
            });
    }
    ~End() override { utp_destroy(context_); }

    void start() override {
        socket_ = utp_create_socket(context_);
        utp_connect(socket_, kSockaddr, sizeof kAddress);
    }
    void receive(const uint8_t *packet, size_t size) override {
        utp_process_udp(context_, packet, size, kSockaddr, sizeof kAddress);
    }
    void timeout() override {
        check_us_ = world_.now_us() + kCheckUs;
        utp_check_timeouts(context_);
    }
    uint64_t next_timeout_us() const override { return check_us_; }
    uint64_t delivered() const override { return delivered_; }
    bool ended() const override { return wanted_ && delivered_ == wanted_; }

    void settle() override {
        while (!incoming_ && socket_ && writable_ && left_) {
            const size_t size = static_cast<size_t>(std::min<uint64_t>(left_, kPiece));
            const ssize_t taken = utp_write(socket_, const_cast<uint8_t *>(kZeros), size);
            if (taken <= 0) {
                writable_ = false;
                break;
            }
            left_ -= static_cast<uint64_t>(taken);
        }
        if (!left_ && socket_ && !finished_) {
            finished_ = true;
            utp_shutdown(socket_, 1);
        }
        utp_issue_deferred_acks(context_);
    }

  private:
    uint64 called(const utp_callback_arguments &a) {
        switch (a.callback_type) {
        case UTP_SENDTO: wire_.send(a.buf, a.len); break;
        case UTP_ON_READ: delivered_ += a.len; break;
        case UTP_ON_STATE_CHANGE:
            if (a.state == UTP_STATE_CONNECT || a.state == UTP_STATE_WRITABLE) writable_ = true;
            if (a.state == UTP_STATE_DESTROYING) socket_ = nullptr;
            break;
        case UTP_ON_ACCEPT: socket_ = a.socket; break;
        case UTP_GET_UDP_MTU: return packet_size_;
        case UTP_GET_MILLISECONDS: return world_.now_us() / 1000;
        case UTP_GET_MICROSECONDS: return world_.now_us();
        case UTP_GET_RANDOM: return world_.random();
        }
        return 0;
    }

    World &world_;
    Wire &wire_;
    const uint32_t packet_size_;
    uint64_t left_, delivered_ = 0;
    const uint64_t wanted_;
    const bool incoming_;
    utp_context *context_;
    utp_socket *socket_ = nullptr;
    uint64_t check_us_ = 0;
    bool writable_ = false, finished_ = false;
};

}  // namespace

std::unique_ptr<Party> make_sender(World &world, Party::Wire &wire, const Limits &limits) {
    return std::make_unique<End>(world, wire, limits, false);
}
std::unique_ptr<Party> make_reader(World &world, Party::Wire &wire, const Limits &limits) {
    return std::make_unique<End>(world, wire, limits, true);
}

}  // namespace quorate::bottleneck
