// What our patches add to libutp: a few fields of a socket, functions the patched lines call, and
// functions of a socket that libutp does not offer. Included by utp_internal.cpp and by the pump.
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "blocks.h"
#include "ledbat.h"
#include "rack.h"
#include "utp.h"

// Packets in flight or waiting for an earlier one. Below half of the sequence numbers, and enough
// for 1 Gb/s over 100 ms.
#define UTP_PACKETS_MAX 16384
// Bytes of a selective acknowledgement: 1,024 packets.
#define UTP_SACK_SIZE 128
// A short last packet waits for more data while more than this many are in flight.
#define UTP_PUSH_PACKETS 32
#define UTP_RTO_INITIAL_MS 1000
#define UTP_RTO_MIN_MS 200
#define UTP_RTO_MAX_MS 8000
// Nothing heard for this long while something is unacknowledged: the peer has vanished.
#define UTP_VANISHED_MS 30000
#define UTP_SYN_RETRIES 4
// An idle connection says so often that it is there. Who waits for data gives up when nothing has
// come for three times as long, and some more; a stock libutp says it every 29 s.
#define UTP_KEEPALIVE_MS 10000
#define UTP_SILENT_MS 35000
#define UTP_SILENT_STOCK_MS 95000
// An accepted connection whose initiator shows no sign of having received the SYN-ACK.
#define UTP_HALF_OPEN_MS 15000
#define UTP_ZERO_WINDOW_PROBE_MS 1000
// Delays a peer reports are clamped to nine minutes: what is above is no delay.
#define UTP_DELAY_MAX_US (1 << 29)

struct UtpExtra {
    bool half_open = false;
    bool initiated = false;
    uint64_t half_open_until = 0;    // ms
    uint64_t half_open_resend = UINT64_MAX;  // ms
    uint32_t half_open_interval = 0; // ms
    uint16_t syn_seq_nr = 0;         // of the initiator
    uint16_t syn_ack_seq_nr = 0;     // of the acceptor
    size_t reorder_bytes = 0;
    quorate::Ledbat ledbat;
    UtpRack rack;
    quorate::Blocks packets;  // in flight, or waiting for the window
};

// --- called by patched lines, implemented by the pump -------------------------------------------

// When the datagram under way was received, by the kernel's clock if it says so.
uint64_t utp_hook_receive_microseconds(utp_context *ctx);
// Whether a packet fits that comes after `ahead` missing ones; what does not is dropped and
// acknowledged anew.
bool utp_hook_has_room(utp_context *ctx, size_t ahead, size_t count);

// --- called by patched lines, implemented in utp_hooks.inc --------------------------------------

void utp_half_open_begin(UTPSocket *s);
bool utp_half_open_expired(UTPSocket *s);
void utp_half_open_repeat_begin(UTPSocket *s);
void utp_half_open_repeat(UTPSocket *s);
void utp_syn_ack_note(UTPSocket *s, uint16_t seq_nr, uint16_t ack_nr);
void utp_syn_ack_answer(UTPSocket *s, uint16_t seq_nr, uint16_t ack_nr);
bool utp_given_up(UTPSocket *s);
void utp_rack_sent(UTPSocket *s, OutgoingPacket *pkt);
void utp_rack_acked(UTPSocket *s, OutgoingPacket *pkt, uint16_t seq);
void utp_rack_lose_all(UTPSocket *s);
bool utp_flush(UTPSocket *s);
void *utp_packet_take(UTPSocket *s);
size_t utp_sack_fill(UTPSocket *s, unsigned char *mask);
void utp_congestion_acked(UTPSocket *s, size_t bytes_acked, int32_t delay_us);
void utp_congestion_packet_lost(UTPSocket *s);
void utp_congestion_packet_was_late(UTPSocket *s);
void utp_congestion_lost(UTPSocket *s);
void utp_congestion_undo(UTPSocket *s);
void utp_congestion_timeout(UTPSocket *s);
size_t utp_congestion_initial(UTPSocket *s);

// --- for the pump -------------------------------------------------------------------------------

// Milliseconds on the context's clock; UINT64_MAX if nothing is awaited. `pending`: there is data
// to send that libutp has not taken yet.
uint64_t utp_socket_next_timeout(UTPSocket *s, bool pending);
// Before and after datagrams and timers of a batch: see rack.inc.
void utp_socket_probe(UTPSocket *s);
void utp_socket_repair(UTPSocket *s);
// Sends what was marked lost, as the window allows, and the last packet if `push` even if short.
void utp_socket_flush(UTPSocket *s, bool push);
bool utp_socket_connected(UTPSocket *s);
// When a packet of the peer was last taken.
uint64_t utp_socket_heard_ms(UTPSocket *s);
bool utp_socket_fin_acked(UTPSocket *s);
// Tells the peer that the connection is over; the socket is destroyed with the context.
void utp_socket_send_reset(UTPSocket *s);
void utp_socket_path_changed(UTPSocket *s);
// Everything was sent and acknowledged: the memory of packets is not needed any more.
void utp_socket_sent_all(UTPSocket *s);
size_t utp_socket_reordered(UTPSocket *s);
uint64_t utp_socket_window_advertised(UTPSocket *s);

struct UtpFigures {
    uint64_t window, in_flight, reordered, peer_window;
    uint32_t rtt_ms, rto_ms, queueing_delay_us;
    bool slow_start;
    int32_t clock_drift;
    uint32_t slowdowns;
    uint32_t packet_blocks;
};
void utp_socket_figures(UTPSocket *s, UtpFigures *out);
