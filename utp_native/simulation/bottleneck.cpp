// The event loop of the simulated bottleneck. Both directions are first in, first out, so what is
// under way stands in two queues ordered by arrival, and the next event is at the front of one.
#include "bottleneck.h"

#include <algorithm>
#include <cerrno>
#include <deque>
#include <new>
#include <vector>

#include "party.h"

namespace quorate::bottleneck {

namespace {

// A program is woken at most so often and then takes everything that has come.
constexpr uint64_t kWakeUs = 100;
constexpr uint64_t kOriginUs = 1000000;  // libutp takes 0 for "never"

struct Packet {
    uint64_t at_us;
    uint32_t flow;
    std::vector<uint8_t> data;
};

class Simulation;

struct End final : Party::Wire {
    Simulation *simulation = nullptr;
    uint32_t flow = 0;
    bool sender = false;
    std::unique_ptr<Party> party;
    std::vector<Packet> inbox;
    uint64_t wake_us = kNeverUs;
    void send(const uint8_t *packet, size_t size) override;
};

class Simulation final : public World {
  public:
    Simulation(const qb_config &config, const qb_flow *flows, uint32_t count,
               qb_flow_result *results, uint64_t *wire_bytes, uint32_t *queue_us, uint32_t slots)
        : config_(config), flows_(flows, flows + count), results_(results),
          wire_bytes_(wire_bytes), queue_us_(queue_us), slots_(slots), state_(config.seed | 1),
          ends_(2 * count) {
        for (uint32_t i = 0; i < count; i++) {
            results_[i] = {-1, 0, 0, 0};
            const Limits limits{config.packet_size, flows_[i].bytes};
            for (const bool sender : {true, false}) {
                End &end = ends_[2 * i + !sender];
                end.simulation = this;
                end.flow = i;
                end.sender = sender;
                const auto make = flows_[i].cubic
                                      ? (sender ? make_cubic_sender : make_cubic_reader)
                                      : (sender ? make_sender : make_reader);
                end.party = make(*this, end, limits);
            }
        }
    }

    uint64_t now_us() const override { return now_us_; }
    uint64_t received_us() const override { return received_us_; }
    uint32_t random() override {  // xorshift64*
        state_ ^= state_ >> 12;
        state_ ^= state_ << 25;
        state_ ^= state_ >> 27;
        return static_cast<uint32_t>((state_ * 0x2545f4914f6cdd1dull) >> 32);
    }

    void run() {
        const uint64_t end_us = kOriginUs + us(config_.duration_s);
        std::vector<bool> started(flows_.size()), stopped(flows_.size());
        uint64_t slot_end_us = kOriginUs + us(config_.slot_s);
        while (true) {
            uint64_t next = std::min(slot_end_us, end_us);
            if (!forward_.empty()) next = std::min(next, forward_.front().at_us);
            if (!backward_.empty()) next = std::min(next, backward_.front().at_us);
            for (size_t i = 0; i < flows_.size(); i++) {
                if (!started[i]) next = std::min(next, kOriginUs + us(flows_[i].start_s));
                if (!stopped[i] && flows_[i].stop_s > 0)
                    next = std::min(next, kOriginUs + us(flows_[i].stop_s));
                for (const End &end : {std::cref(ends_[2 * i]), std::cref(ends_[2 * i + 1])})
                    next = std::min({next, end.wake_us,
                                     started[i] ? end.party->next_timeout_us() : kNeverUs});
            }
            now_us_ = std::max(now_us_, next);
            if (now_us_ >= end_us) break;
            if (now_us_ >= slot_end_us) {
                if (slot_ < slots_) queue_us_[slot_] = queue_delay_us();
                slot_++;
                slot_end_us += us(config_.slot_s);
            }
            arrive(forward_, 1);
            arrive(backward_, 0);
            for (size_t i = 0; i < flows_.size(); i++) {
                if (!started[i] && now_us_ >= kOriginUs + us(flows_[i].start_s)) {
                    started[i] = true;
                    ends_[2 * i].party->start();
                    ends_[2 * i].party->settle();
                }
                if (!stopped[i] && flows_[i].stop_s > 0 &&
                    now_us_ >= kOriginUs + us(flows_[i].stop_s)) {
                    stopped[i] = true;
                    ends_[2 * i].party->stop();
                }
                if (!started[i]) continue;
                wake(ends_[2 * i]);
                wake(ends_[2 * i + 1]);
            }
            if (all_ended()) break;
        }
        for (size_t i = 0; i < flows_.size(); i++) {
            results_[i].delivered = ends_[2 * i + 1].party->delivered();
            results_[i].slowdowns = ends_[2 * i].party->slowdowns();
        }
    }

    void transmit(End &from, const uint8_t *packet, size_t size) {
        const uint64_t half_us = config_.rtt_us / 2;
        if (!from.sender) {
            backward_.push_back({now_us_ + half_us, from.flow, {packet, packet + size}});
            return;
        }
        qb_flow_result &result = results_[from.flow];
        const uint64_t wire = size + config_.overhead;
        if (config_.loss > 0 && random() < config_.loss * 4294967296.0) {
            result.dropped++;
            return;
        }
        double left = static_cast<double>(now_us_);
        if (config_.rate_bps) {
            const double us_per_byte = 8e6 / static_cast<double>(config_.rate_bps);
            const double waiting = std::max(free_us_ - left, 0.0) / us_per_byte;
            if (waiting + static_cast<double>(wire) > static_cast<double>(config_.buffer_bytes)) {
                result.dropped++;
                return;
            }
            free_us_ = std::max(free_us_, left) + static_cast<double>(wire) * us_per_byte;
            left = free_us_;
        }
        const double slot = (left - kOriginUs) / (config_.slot_s * 1e6);
        if (slot < slots_)
            wire_bytes_[static_cast<size_t>(from.flow) * slots_ + static_cast<size_t>(slot)] += wire;
        forward_.push_back(
            {static_cast<uint64_t>(left) + half_us, from.flow, {packet, packet + size}});
    }

  private:
    static uint64_t us(double seconds) { return static_cast<uint64_t>(seconds * 1e6 + 0.5); }

    uint32_t queue_delay_us() const {
        return static_cast<uint32_t>(std::max(free_us_ - static_cast<double>(now_us_), 0.0));
    }

    void arrive(std::deque<Packet> &pipe, uint32_t side) {
        while (!pipe.empty() && pipe.front().at_us <= now_us_) {
            End &end = ends_[2 * pipe.front().flow + side];
            end.inbox.push_back(std::move(pipe.front()));
            pipe.pop_front();
            if (end.wake_us == kNeverUs) end.wake_us = (now_us_ / kWakeUs + 1) * kWakeUs;
        }
    }

    void wake(End &end) {
        Party &party = *end.party;
        const bool due = party.next_timeout_us() <= now_us_;
        if (end.wake_us > now_us_ && !due) return;
        if (end.wake_us <= now_us_) {
            end.wake_us = kNeverUs;
            for (const Packet &packet : end.inbox) {
                received_us_ = packet.at_us;
                party.receive(packet.data.data(), packet.data.size());
            }
            end.inbox.clear();
        }
        if (due) party.timeout();
        party.settle();
        qb_flow_result &result = results_[end.flow];
        if (result.finished_s < 0 && party.ended())
            result.finished_s = static_cast<double>(now_us_ - kOriginUs) / 1e6;
    }

    bool all_ended() const {
        for (size_t i = 0; i < flows_.size(); i++)
            if (results_[i].finished_s < 0) return false;
        return true;
    }

    const qb_config config_;
    const std::vector<qb_flow> flows_;
    qb_flow_result *results_;
    uint64_t *wire_bytes_;
    uint32_t *queue_us_;
    const uint32_t slots_;
    uint32_t slot_ = 0;
    uint64_t state_;
    uint64_t now_us_ = kOriginUs, received_us_ = kOriginUs;
    double free_us_ = 0;  // when the queue is empty
    std::deque<Packet> forward_, backward_;
    std::vector<End> ends_;
};

void End::send(const uint8_t *packet, size_t size) { simulation->transmit(*this, packet, size); }

}  // namespace

}  // namespace quorate::bottleneck

int qb_run(const qb_config *config, const qb_flow *flows, uint32_t count, qb_flow_result *results,
           uint64_t *wire_bytes, uint32_t *queue_us, uint32_t slots) {
    if (config->packet_size < 150 || config->packet_size > 2048 || !(config->slot_s > 0))
        return -EINVAL;
    try {
        quorate::bottleneck::Simulation(*config, flows, count, results, wire_bytes, queue_us, slots)
            .run();
    } catch (const std::bad_alloc &) {
        return -ENOMEM;
    }
    return 0;
}
