// What tells lost packets from late ones: RACK-TLP (RFC 8985). Every packet that was sent and is not
// acknowledged stands in a list; the functions are in rack.inc.
//
//   flying ──overtaken by what was sent a reordering window later──► lost ──as the window allows──► flying
//      └─the same, but no acknowledgement has spoken of it yet──► unseen ──once one has──► lost
#pragma once

#include <stdint.h>

struct OutgoingPacket;

struct UtpSentList {
    OutgoingPacket *first = nullptr, *last = nullptr;
};

// A packet's place among those sent.
struct UtpSentMark {
    UtpSentList *list = nullptr;  // null: not sent yet, or acknowledged
    OutgoingPacket *before = nullptr, *after = nullptr;
    uint64_t order = 0;  // of its last transmission, of all of the socket's
};

struct UtpRack {
    UtpSentList flying;  // in the order in which they were last sent
    // What has left the path, so the window does not count it: whether it arrived is not known yet.
    UtpSentList unseen;
    UtpSentList lost;
    uint64_t order = 0;

    // Of all that has arrived, the packet that was sent last.
    uint64_t newest_order = 0;
    uint64_t newest_rtt_us = 0;
    // The largest number that has arrived: a selective acknowledgement says nothing of later ones.
    uint16_t highest = 0;
    bool arrived = false;        // something, since the socket was made
    bool arrived_lately = false; // something, since losses were looked for

    // The reordering window is so many quarters of the least round trip: one more for each round
    // trip in which what counted as lost had only been late, one again after so many true losses.
    uint32_t quarters = 1;
    uint32_t quarters_for = 0;
    uint64_t widened_ms = 0;
    // When the window was last cut. Losses of what was sent before are the same event.
    uint64_t cut_order = 0;
    // Packets that counted as lost since the window was cut and of which is not known yet whether
    // they were; `proved`: one was.
    uint32_t doubted = 0;
    bool proved = false;

    uint64_t look_ms = UINT64_MAX;   // when the next packet counts as lost
    uint64_t probe_ms = UINT64_MAX;  // when the last packet is sent again if nothing arrives
};
