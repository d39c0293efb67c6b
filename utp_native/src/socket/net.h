// Addresses, and one UDP socket read and written in batches, with segmentation and receive offload
// where the kernel has them.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <algorithm>
#include <array>
#include <cstdint>
#include <cstring>
#include <functional>
#include <vector>

namespace quorate {

// 16 bytes of IPv6 address, IPv4 mapped into it, and the port, big-endian: what crosses the border.
struct Address {
    uint8_t bytes[18] = {};
    bool operator==(const Address &other) const {
        return std::memcmp(bytes, other.bytes, sizeof bytes) == 0;
    }
    bool is_ipv4() const;
};

struct AddressHash {
    size_t operator()(const Address &address) const {
        uint64_t words[2];
        std::memcpy(words, address.bytes + 2, sizeof words);
        return static_cast<size_t>((words[0] ^ words[1] << 1) * 0x9e3779b97f4a7c15ull >> 16);
    }
};

// A datagram that waits in an arena, and where it goes.
struct Outgoing {
    uint32_t offset;
    uint32_t size;
    Address to;
};

struct SocketCounters {
    uint64_t receive_calls = 0, receive_messages = 0, send_calls = 0, send_messages = 0;
};

class UdpSocket {
  public:
    // Takes a descriptor it does not own and makes it non-blocking. Throws std::system_error.
    UdpSocket(int fd, uint32_t buffer_size, bool offload);

    // One system call, for at most `messages_max` messages and about `datagrams_wanted` datagrams:
    // the kernel may have joined up to 64 into each. Gives every datagram to `take(data, size, from, received_us)`; `data` may be
    // written to. `received_us` is 0 where the kernel gives no time. Returns the number of
    // messages, 0 if there are none, or a negative errno. `drained`: nothing is left for now.
    template <typename Take>
    int receive(uint32_t messages_max, uint32_t datagrams_wanted, bool *drained, Take take);

    // Sends in order until the socket is full. Returns how many went, those that the network
    // refused among them (a datagram may be lost), or a negative errno of the socket itself.
    int64_t send(const uint8_t *arena, const Outgoing *queue, size_t count, bool contiguous);

    bool segmentation() const { return segmentation_; }
    // Addresses that get single datagrams for now.
    uint32_t narrow() const;
    bool coalescing() const { return coalescing_; }
    SocketCounters counters;

  private:
    static constexpr uint32_t kMessages = 16;
    static constexpr uint32_t kSegmentsMax = 64;      // UDP_MAX_SEGMENTS of older kernels
    static constexpr uint32_t kSegmentedMax = 65000;  // of the 65,507 bytes a datagram can have
    static constexpr uint32_t kControl = 128;

    struct Received {
        uint8_t *data;
        uint32_t size, segment;
        Address from;
        uint64_t received_us;
    };
    // An address whose way refused a message of several datagrams. Each has one place, and takes it
    // from whoever had it, whom one refused call more puts back.
    struct Narrow {
        Address to;
        uint64_t until_us = 0;
    };
    static constexpr size_t kNarrowMax = 256;
    // Routes and their MTU change; asking again costs one refused call.
    static constexpr uint64_t kNarrowUs = 60000000;
    // The hash mixes upward: the last bits of an IPv4 address are in its high ones.
    static size_t narrow_place(const Address &to) { return (AddressHash{}(to) >> 40) % kNarrowMax; }
    bool is_narrow(const Address &to) const;
    void set_narrow(const Address &to);
    int receive_messages(uint32_t wanted);
    void read_control(msghdr &header, Received &out, int64_t to_monotonic_us);
    socklen_t to_sockaddr(const Address &address, sockaddr_storage *out) const;

    int fd_;
    int family_ = 0;
    bool segmentation_ = false, coalescing_ = false;
    uint64_t narrow_until_us_ = 0;  // the last of them
    std::array<Narrow, kNarrowMax> narrow_;
    uint32_t buffer_size_;
    uint32_t per_message_ = 1;  // datagrams the last messages held, to bound the next call
    std::vector<uint8_t> buffer_;
    Received received_[kMessages];
    mmsghdr headers_[kMessages];
    iovec vectors_[kMessages];
    sockaddr_storage names_[kMessages];
    alignas(8) uint8_t control_[kMessages][kControl];
};

template <typename Take>
int UdpSocket::receive(uint32_t messages_max, uint32_t datagrams_wanted, bool *drained,
                       Take take) {
    const uint32_t wanted = std::max(
        std::min({datagrams_wanted / per_message_, messages_max, kMessages}), uint32_t{1});
    const int got = receive_messages(wanted);
    *drained = got < static_cast<int>(wanted);
    uint32_t datagrams = 0;
    for (int i = 0; i < got; i++) {
        Received &message = received_[i];
        uint32_t offset = 0;
        do {
            const uint32_t left = message.size - offset;
            const uint32_t size = message.segment && message.segment < left ? message.segment : left;
            take(message.data + offset, size, message.from, message.received_us);
            offset += size;
            datagrams++;
        } while (offset < message.size);
    }
    if (got > 0) per_message_ = (datagrams + got - 1) / got;
    return got;
}

uint64_t monotonic_us();

}  // namespace quorate
