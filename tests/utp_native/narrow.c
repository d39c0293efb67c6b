/* Preloaded by test_socket.py: every way but one refuses messages of several datagrams, as a way with a
   small MTU does. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/socket.h>

#ifndef UDP_SEGMENT
#define UDP_SEGMENT 103
#endif

static in_port_t wide; /* the port whose messages pass */
static int refused;

void narrow_all_but(int port) { wide = htons((uint16_t)port); }
int narrow_refused(void) { return refused; }

static int refuses(struct msghdr *message) {
    const struct sockaddr_in *to = message->msg_name;
    const struct cmsghdr *c = message->msg_controllen ? CMSG_FIRSTHDR(message) : NULL;
    return wide && c && c->cmsg_type == UDP_SEGMENT && to->sin_port != wide;
}

int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags) {
    int (*const kernels)(int, struct mmsghdr *, unsigned, int) = dlsym(RTLD_NEXT, "sendmmsg");
    unsigned passes = 0;
    while (passes < count && !refuses(&messages[passes].msg_hdr)) passes++;
    if (passes) return kernels(fd, messages, passes, flags);
    refused++;
    errno = EMSGSIZE;
    return -1;
}
