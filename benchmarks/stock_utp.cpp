// The pinned libutp as it is, one packet a system call, between two processes over loopback: what
// utp_native is measured against. `stock_utp <bytes>` prints {"seconds": ..., "processor": ...}.
#include <arpa/inet.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstdio>
#include <cstdlib>
#include <ctime>
#include <utility>

#include "utp.h"

namespace {

constexpr int kSocketBuffer = 8 << 20;  // with the kernel's default libutp collapses
constexpr int kWindow = 16 << 20;
constexpr uint64 kCheckMs = 500;

struct End {
    int fd = -1;
    uint64 left = 0, got = 0;
    bool sender = false, writable = false;
    utp_context *context = nullptr;
    utp_socket *socket = nullptr;
};

double seconds(clockid_t clock) {
    timespec t;
    clock_gettime(clock, &t);
    return static_cast<double>(t.tv_sec) + static_cast<double>(t.tv_nsec) / 1e9;
}

uint64 called(utp_callback_arguments *a) {
    End &end = *static_cast<End *>(utp_context_get_userdata(a->context));
    switch (a->callback_type) {
    case UTP_SENDTO:
        sendto(end.fd, a->buf, a->len, 0, a->address, a->address_len);
        break;
    case UTP_ON_READ:
        end.got += a->len;
        utp_read_drained(a->socket);
        break;
    case UTP_ON_STATE_CHANGE:
        if (a->state == UTP_STATE_CONNECT || a->state == UTP_STATE_WRITABLE) end.writable = true;
        break;
    case UTP_ON_ERROR:
        std::fprintf(stderr, "libutp: %s\n", utp_error_code_names[a->error_code]);
        std::exit(1);
    }
    return 0;
}

End make(bool sender) {
    End end;
    end.sender = sender;
    end.fd = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    sockaddr_in any{};
    any.sin_family = AF_INET;
    any.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(end.fd, reinterpret_cast<sockaddr *>(&any), sizeof any) != 0) std::exit(1);
    for (const auto &[forced, plain] :
         {std::pair(SO_RCVBUFFORCE, SO_RCVBUF), std::pair(SO_SNDBUFFORCE, SO_SNDBUF)})
        if (setsockopt(end.fd, SOL_SOCKET, forced, &kSocketBuffer, sizeof kSocketBuffer) != 0)
            setsockopt(end.fd, SOL_SOCKET, plain, &kSocketBuffer, sizeof kSocketBuffer);
    return end;
}

void receive(End &end) {
    static uint8_t buffer[65536];
    for (;;) {
        sockaddr_storage from;
        socklen_t length = sizeof from;
        sockaddr *const address = reinterpret_cast<sockaddr *>(&from);
        const ssize_t size = recvfrom(end.fd, buffer, sizeof buffer, 0, address, &length);
        if (size < 0) break;
        utp_process_udp(end.context, buffer, static_cast<size_t>(size), address, length);
    }
    utp_issue_deferred_acks(end.context);
}

void send(End &end) {
    static uint8_t zeros[1 << 16];
    while (end.writable && end.left) {
        const size_t size = end.left < sizeof zeros ? end.left : sizeof zeros;
        const ssize_t taken = utp_write(end.socket, zeros, size);
        if (taken <= 0) end.writable = false;
        else end.left -= static_cast<uint64>(taken);
    }
}

// The reader goes on until it has `size` bytes, and says so through the pipe; the sender until then.
void run(End &end, int pipe, uint64 size) {
    double check = 0;
    char byte = 'd';
    while (end.sender ? read(pipe, &byte, 1) != 1 : end.got < size) {
        send(end);
        pollfd waiting[2] = {{end.fd, POLLIN, 0}, {end.sender ? pipe : -1, POLLIN, 0}};
        poll(waiting, 2, kCheckMs);
        receive(end);
        if (seconds(CLOCK_MONOTONIC) < check) continue;
        utp_check_timeouts(end.context);
        check = seconds(CLOCK_MONOTONIC) + kCheckMs / 1000.0;
    }
    if (!end.sender && write(pipe, &byte, 1) != 1) std::exit(1);
}

void start(End &end) {
    end.context = utp_init(2);
    utp_context_set_userdata(end.context, &end);
    utp_context_set_option(end.context, UTP_SNDBUF, kWindow);
    utp_context_set_option(end.context, UTP_RCVBUF, kWindow);
    for (const int callback : {UTP_SENDTO, UTP_ON_READ, UTP_ON_STATE_CHANGE, UTP_ON_ERROR})
        utp_set_callback(end.context, callback, called);
    utp_set_callback(end.context, UTP_ON_ACCEPT, called);
}

}  // namespace

int main(int, char **arguments) {
    const uint64 size = std::strtoull(arguments[1], nullptr, 10);
    End reader = make(false);
    sockaddr_in address{};
    socklen_t length = sizeof address;
    getsockname(reader.fd, reinterpret_cast<sockaddr *>(&address), &length);
    int done[2];
    if (pipe(done) != 0) return 1;
    const pid_t child = fork();
    if (child == 0) {
        start(reader);
        run(reader, done[1], size);
        _exit(0);
    }
    fcntl(done[0], F_SETFL, O_NONBLOCK);
    const double started = seconds(CLOCK_MONOTONIC);
    End sender = make(true);
    start(sender);
    sender.left = size;
    sender.socket = utp_create_socket(sender.context);
    utp_connect(sender.socket, reinterpret_cast<sockaddr *>(&address), sizeof address);
    run(sender, done[0], size);
    const double took = seconds(CLOCK_MONOTONIC) - started;
    waitpid(child, nullptr, 0);
    rusage own, others;
    getrusage(RUSAGE_SELF, &own);
    getrusage(RUSAGE_CHILDREN, &others);
    double processor = 0;
    for (const rusage *used : {&own, &others})
        processor += static_cast<double>(used->ru_utime.tv_sec + used->ru_stime.tv_sec) +
                     static_cast<double>(used->ru_utime.tv_usec + used->ru_stime.tv_usec) / 1e6;
    std::printf("{\"seconds\": %.6f, \"processor\": %.6f}\n", took, processor);
    return 0;
}
