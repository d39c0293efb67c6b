#include "net.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <time.h>

#include <cerrno>
#include <system_error>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif
#ifndef UDP_GRO
#define UDP_GRO 104
#endif

namespace quorate {

namespace {

constexpr uint8_t kMapped[12] = {0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff};

Address from_sockaddr(const sockaddr_storage &storage) {
    Address out;
    if (storage.ss_family == AF_INET) {
        const auto &in = reinterpret_cast<const sockaddr_in &>(storage);
        std::memcpy(out.bytes, kMapped, 12);
        std::memcpy(out.bytes + 12, &in.sin_addr, 4);
        std::memcpy(out.bytes + 16, &in.sin_port, 2);
    } else {
        const auto &in = reinterpret_cast<const sockaddr_in6 &>(storage);
        std::memcpy(out.bytes, &in.sin6_addr, 16);
        std::memcpy(out.bytes + 16, &in.sin6_port, 2);
    }
    return out;
}

uint64_t clock_us(clockid_t clock) {
    timespec t;
    clock_gettime(clock, &t);
    return static_cast<uint64_t>(t.tv_sec) * 1000000 + static_cast<uint64_t>(t.tv_nsec) / 1000;
}

void set_buffer(int fd, int forced, int plain, int size) {
    // With the right to, beyond the system's limit; a smaller buffer only costs throughput.
    if (setsockopt(fd, SOL_SOCKET, forced, &size, sizeof size) != 0)
        setsockopt(fd, SOL_SOCKET, plain, &size, sizeof size);
}

// The socket itself is of no more use, as opposed to one datagram that found no way.
bool is_fatal(int error) {
    return error == EBADF || error == ENOTSOCK || error == EFAULT || error == EOPNOTSUPP;
}

}  // namespace

uint64_t monotonic_us() { return clock_us(CLOCK_MONOTONIC); }

bool Address::is_ipv4() const { return std::memcmp(bytes, kMapped, sizeof kMapped) == 0; }

UdpSocket::UdpSocket(int fd, uint32_t buffer_size, bool offload) : fd_(fd) {
    sockaddr_storage name{};
    socklen_t size = sizeof name;
    int type = 0;
    socklen_t type_size = sizeof type;
    if (getsockname(fd, reinterpret_cast<sockaddr *>(&name), &size) != 0 ||
        getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &type_size) != 0)
        throw std::system_error(errno, std::generic_category());
    family_ = name.ss_family;
    if (type != SOCK_DGRAM || (family_ != AF_INET && family_ != AF_INET6))
        throw std::system_error(EPROTOTYPE, std::generic_category());
    const int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) != 0)
        throw std::system_error(errno, std::generic_category());
    set_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF, static_cast<int>(buffer_size));
    set_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF, static_cast<int>(buffer_size));
    const int on = 1, none = 0;
    setsockopt(fd, SOL_SOCKET, SO_TIMESTAMPNS, &on, sizeof on);
    if (offload) {
        segmentation_ = setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &none, sizeof none) == 0;
        coalescing_ = setsockopt(fd, IPPROTO_UDP, UDP_GRO, &on, sizeof on) == 0;
    }
    buffer_size_ = coalescing_ ? 65536 : 2048;
    buffer_.resize(static_cast<size_t>(buffer_size_) * kMessages);
}

socklen_t UdpSocket::to_sockaddr(const Address &address, sockaddr_storage *out) const {
    if (family_ == AF_INET6) {
        auto *in = reinterpret_cast<sockaddr_in6 *>(out);
        std::memset(in, 0, sizeof *in);
        in->sin6_family = AF_INET6;
        std::memcpy(&in->sin6_addr, address.bytes, 16);
        std::memcpy(&in->sin6_port, address.bytes + 16, 2);
        return sizeof *in;
    }
    auto *in = reinterpret_cast<sockaddr_in *>(out);
    std::memset(in, 0, sizeof *in);
    // An IPv6 address on an IPv4 socket stays unspecified, and the kernel refuses it.
    in->sin_family = address.is_ipv4() ? AF_INET : AF_INET6;
    std::memcpy(&in->sin_addr, address.bytes + 12, 4);
    std::memcpy(&in->sin_port, address.bytes + 16, 2);
    return sizeof *in;
}

void UdpSocket::read_control(msghdr &header, Received &out, int64_t to_monotonic_us) {
    for (cmsghdr *c = CMSG_FIRSTHDR(&header); c; c = CMSG_NXTHDR(&header, c)) {
        if (c->cmsg_level == IPPROTO_UDP && c->cmsg_type == UDP_GRO) {
            int segment = 0;
            std::memcpy(&segment, CMSG_DATA(c), sizeof segment);
            if (segment > 0) out.segment = static_cast<uint32_t>(segment);
        } else if (c->cmsg_level == SOL_SOCKET && c->cmsg_type == SO_TIMESTAMPNS) {
            timespec t;
            std::memcpy(&t, CMSG_DATA(c), sizeof t);
            out.received_us = static_cast<uint64_t>(static_cast<int64_t>(t.tv_sec) * 1000000 +
                                                    t.tv_nsec / 1000 + to_monotonic_us);
        }
    }
}

int UdpSocket::receive_messages(uint32_t wanted) {
    for (uint32_t i = 0; i < wanted; i++) {
        vectors_[i] = {buffer_.data() + static_cast<size_t>(i) * buffer_size_, buffer_size_};
        headers_[i] = {};
        msghdr &header = headers_[i].msg_hdr;
        header.msg_name = &names_[i];
        header.msg_namelen = sizeof names_[i];
        header.msg_iov = &vectors_[i];
        header.msg_iovlen = 1;
        header.msg_control = control_[i];
        header.msg_controllen = kControl;
    }
    int got;
    do got = recvmmsg(fd_, headers_, wanted, MSG_DONTWAIT, nullptr);
    while (got < 0 && errno == EINTR);
    counters.receive_calls++;
    if (got < 0) {
        // An error a datagram of ours met on its way is reported here; it is not the socket's.
        return is_fatal(errno) ? -errno : 0;
    }
    counters.receive_messages += static_cast<uint64_t>(got);
    // Read together, so that a step of the real-time clock between calls does no harm.
    const int64_t to_monotonic =
        static_cast<int64_t>(monotonic_us()) - static_cast<int64_t>(clock_us(CLOCK_REALTIME));
    for (int i = 0; i < got; i++) {
        Received &out = received_[i];
        out.data = static_cast<uint8_t *>(vectors_[i].iov_base);
        // What is longer than the buffer was cut by the kernel; as an empty one it is refused.
        out.size = headers_[i].msg_hdr.msg_flags & MSG_TRUNC ? 0 : headers_[i].msg_len;
        out.segment = 0;
        out.received_us = 0;
        out.from = from_sockaddr(names_[i]);
        read_control(headers_[i].msg_hdr, out, to_monotonic);
    }
    return got;
}

bool UdpSocket::is_narrow(const Address &to) const {
    if (!narrow_until_us_) return false;
    const Narrow &entry = narrow_[narrow_place(to)];
    return entry.to == to && monotonic_us() < entry.until_us;
}

void UdpSocket::set_narrow(const Address &to) {
    narrow_until_us_ = monotonic_us() + kNarrowUs;
    narrow_[narrow_place(to)] = {to, narrow_until_us_};
}

uint32_t UdpSocket::narrow() const {
    const uint64_t now_us = monotonic_us();
    return static_cast<uint32_t>(
        std::count_if(narrow_.begin(), narrow_.end(),
                      [now_us](const Narrow &entry) { return now_us < entry.until_us; }));
}

int64_t UdpSocket::send(const uint8_t *arena, const Outgoing *queue, size_t count,
                        bool contiguous) {
    size_t done = 0;
    while (done < count) {
        size_t ends[kMessages];
        uint32_t messages = 0;
        size_t next = done;
        while (next < count && messages < kMessages) {
            const Outgoing &first = queue[next];
            size_t end = next + 1;
            uint32_t total = first.size;
            const bool joined = segmentation_ && contiguous && !is_narrow(first.to);
            // One message of equal datagrams to one address; the last may be shorter.
            while (joined && end < count && end - next < kSegmentsMax &&
                   queue[end].to == first.to && queue[end].size <= first.size &&
                   queue[end - 1].size == first.size && total + queue[end].size <= kSegmentedMax)
                total += queue[end++].size;
            vectors_[messages] = {const_cast<uint8_t *>(arena) + first.offset, total};
            headers_[messages] = {};
            msghdr &header = headers_[messages].msg_hdr;
            header.msg_name = &names_[messages];
            header.msg_namelen = to_sockaddr(first.to, &names_[messages]);
            header.msg_iov = &vectors_[messages];
            header.msg_iovlen = 1;
            if (end - next > 1) {
                header.msg_control = control_[messages];
                header.msg_controllen = CMSG_SPACE(sizeof(uint16_t));
                cmsghdr *c = CMSG_FIRSTHDR(&header);
                c->cmsg_level = IPPROTO_UDP;
                c->cmsg_type = UDP_SEGMENT;
                c->cmsg_len = CMSG_LEN(sizeof(uint16_t));
                const uint16_t segment = static_cast<uint16_t>(first.size);
                std::memcpy(CMSG_DATA(c), &segment, sizeof segment);
            }
            ends[messages++] = end;
            next = end;
        }
        int sent;
        do sent = sendmmsg(fd_, headers_, messages, MSG_DONTWAIT);
        while (sent < 0 && errno == EINTR);
        counters.send_calls++;
        if (sent > 0) {
            counters.send_messages += static_cast<uint64_t>(sent);
            done = ends[sent - 1];
            continue;
        }
        if (errno == EAGAIN || errno == EWOULDBLOCK || errno == ENOBUFS || errno == ENOMEM) break;
        if (is_fatal(errno)) return -errno;
        const bool offload_refused = errno == EIO || errno == EINVAL || errno == EMSGSIZE;
        if (ends[0] - done > 1 && offload_refused) {
            // EIO: the device cannot checksum segments. EINVAL, EMSGSIZE: they exceed its MTU, or that
            // of the route. They are sent again one by one, and so are all to this address for a while.
            set_narrow(queue[done].to);
            continue;
        }
        done = ends[0];  // this datagram found no way; datagrams may be lost
    }
    return static_cast<int64_t>(done);
}

}  // namespace quorate
