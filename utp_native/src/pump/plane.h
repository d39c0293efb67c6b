// The bulk plane of one presence: keys of its current epoch and the one before, where to send, and
// its channels.
#pragma once

#include <cstdint>
#include <unordered_map>
#include <vector>

#include "channel.h"
#include "net.h"
#include "seal.h"

namespace quorate {

// Channel numbers of the peer that were used are not used again, within this window.
constexpr uint32_t kNumberWindow = 1024;
constexpr uint32_t kEpochs = 2;
// Incoming channels that are over and only answer repeated last packets do not stand in the way of
// new ones, up to so many times the bound on those: a thousand of two seconds by default.
constexpr uint32_t kLeavingTimes = 16;
constexpr uint32_t kNumberSize = 4;  // of a channel, before its µTP packet

inline uint64_t cid_key(const uint8_t *cid) {
    uint64_t key;
    std::memcpy(&key, cid, sizeof key);
    return key;
}

struct Plane {
    uint32_t index = 0, generation = 0;
    bool live = false;
    bool initiator = false;
    bool bare = false;                  // plain BEP 29, nothing sealed: see pump_bare.cpp
    Address address;
    Address reported;                   // the last one a newest datagram came from
    uint16_t reported_size = 0;         // bytes of that datagram
    bool moving = false;                // that is to be polled
    Sealer sealer;
    DirectionKeys next_send;            // waits for the peer to show that it has the new epoch
    bool send_pending = false;
    Opener openers[kEpochs];
    uint32_t current = 0;               // of the openers
    uint64_t retire_ms = UINT64_MAX;    // when the other one is erased
    std::vector<uint64_t> spent;        // connection ids of the epochs so far, a ring
    uint32_t spent_next = 0;
    uint32_t next_number = 0;
    ReplayWindow<kNumberWindow> numbers;  // of incoming channels, halved
    std::unordered_map<uint32_t, Channel *> channels;
    uint32_t incoming = 0, outgoing = 0;
    uint32_t leaving = 0;               // of the incoming ones, no longer counted among them
    uint64_t bytes_sealed = 0, opened = 0, bytes_opened = 0;
    double heard_at = -1;
};

// Bytes of a plain µTP packet that is taken: what an Ethernet frame carries, and more.
constexpr uint32_t kBareSizeMax = 2048;

// Of a µTP packet (BEP 29).
constexpr uint8_t kPacketReset = 3, kPacketSyn = 4, kPacketTypes = 5;

// What the table of connection ids leads to.
struct Route {
    uint32_t plane;
    uint32_t epoch;
};

}  // namespace quorate
