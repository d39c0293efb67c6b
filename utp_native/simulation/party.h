// One end of a flow, as the simulator sees it: something that is given packets and time, and gives
// packets. Implemented over our channel, over the pinned libutp as it is, and by a CUBIC-like model.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>

namespace quorate::bottleneck {

// What an end needs from the simulator.
class World {
  public:
    virtual ~World() = default;
    virtual uint64_t now_us() const = 0;
    virtual uint64_t received_us() const = 0;  // when the packet under way arrived
    virtual uint32_t random() = 0;
};

class Party {
  public:
    // Takes a packet of this end; set by the simulator.
    class Wire {
      public:
        virtual ~Wire() = default;
        virtual void send(const uint8_t *packet, size_t size) = 0;
    };

    virtual ~Party() = default;
    virtual void start() {}
    virtual void stop() {}
    virtual void receive(const uint8_t *packet, size_t size) = 0;
    // After a batch of packets, a timeout or the start: acknowledge, and send what may go.
    virtual void settle() = 0;
    virtual void timeout() = 0;
    virtual uint64_t next_timeout_us() const = 0;
    virtual uint64_t delivered() const { return 0; }
    virtual uint32_t slowdowns() const { return 0; }
    virtual bool ended() const { return false; }  // a reader: everything has arrived
};

struct Limits {
    uint32_t packet_size;
    uint64_t bytes;  // to send; 0: without end
};

// Defined by the one of fork.cpp and stock.cpp that is built in.
std::unique_ptr<Party> make_sender(World &world, Party::Wire &wire, const Limits &limits);
std::unique_ptr<Party> make_reader(World &world, Party::Wire &wire, const Limits &limits);

std::unique_ptr<Party> make_cubic_sender(World &world, Party::Wire &wire, const Limits &limits);
std::unique_ptr<Party> make_cubic_reader(World &world, Party::Wire &wire, const Limits &limits);

constexpr uint64_t kNeverUs = UINT64_MAX;
constexpr size_t kPiece = 65536;
inline const uint8_t kZeros[kPiece] = {};

}  // namespace quorate::bottleneck
