// Ordinary TCP to share a bottleneck with: a window that follows CUBIC (RFC 9438) over packets that
// carry a number and nothing else. It has no data to resend; what it models is its share of a queue.
#include <algorithm>
#include <cmath>
#include <cstring>
#include <deque>

#include "party.h"

namespace quorate::bottleneck {

namespace {

constexpr double kC = 0.4, kBeta = 0.7;
constexpr uint32_t kReordering = 3;
constexpr uint64_t kTimeoutMinUs = 200000;

class Sender : public Party {
  public:
    Sender(World &world, Wire &wire, const Limits &limits)
        : world_(world), wire_(wire), size_(limits.packet_size) {}

    void start() override { running_ = true; }
    void stop() override { running_ = false; }

    void receive(const uint8_t *packet, size_t) override {
        uint64_t number;
        std::memcpy(&number, packet, sizeof number);
        if (number < first_ || number >= first_ + flight_.size()) return;
        Sent &sent = flight_[number - first_];
        if (sent.answered) return;
        sent.answered = true;
        flying_--;
        const double rtt = static_cast<double>(world_.now_us() - sent.at_us);
        rtt_us_ = rtt_us_ > 0 ? rtt_us_ + (rtt - rtt_us_) / 8 : rtt;
        progress_us_ = world_.now_us();
        // What three later packets have overtaken is lost; one reduction for each window.
        while (!flight_.empty() && (flight_.front().answered || first_ + kReordering < number)) {
            if (!flight_.front().answered) {
                flying_--;
                if (first_ >= recovered_) reduce();
            }
            flight_.pop_front();
            first_++;
        }
        grow();
    }

    void settle() override {
        while (running_ && flying_ < static_cast<uint64_t>(window_)) {
            uint8_t packet[2048] = {};
            const uint64_t number = first_ + flight_.size();
            std::memcpy(packet, &number, sizeof number);
            if (flying_ == 0) progress_us_ = world_.now_us();
            flight_.push_back({world_.now_us(), false});
            flying_++;
            wire_.send(packet, size_);
        }
    }

    void timeout() override {
        if (world_.now_us() < next_timeout_us()) return;
        threshold_ = std::max(window_ * kBeta, 2.0);
        peak_ = window_;
        window_ = 1;
        epoch_us_ = 0;
        first_ += flight_.size();
        flight_.clear();
        flying_ = 0;
        recovered_ = first_;
    }

    uint64_t next_timeout_us() const override {
        if (flying_ == 0) return kNeverUs;
        return progress_us_ + std::max<uint64_t>(kTimeoutMinUs, static_cast<uint64_t>(4 * rtt_us_));
    }

  private:
    struct Sent {
        uint64_t at_us;
        bool answered;
    };

    void reduce() {
        recovered_ = first_ + flight_.size();
        peak_ = window_ < peak_ ? window_ * (1 + kBeta) / 2 : window_;  // fast convergence
        window_ = std::max(window_ * kBeta, 2.0);
        threshold_ = window_;
        epoch_us_ = 0;
    }

    void grow() {
        if (window_ < threshold_) {
            window_ += 1;
            return;
        }
        if (epoch_us_ == 0) {
            epoch_us_ = world_.now_us();
            reno_ = window_;
            peak_ = std::max(peak_, window_);
            inflection_s_ = std::cbrt((peak_ - window_) / kC);
        }
        const double t = static_cast<double>(world_.now_us() - epoch_us_) / 1e6 + rtt_us_ / 1e6;
        const double target = kC * std::pow(t - inflection_s_, 3) + peak_;
        reno_ += 3 * (1 - kBeta) / (1 + kBeta) / window_;
        window_ += target > window_ ? (std::min(target, 1.5 * window_) - window_) / window_
                                    : 0.01 / window_;
        window_ = std::max(window_, reno_);
    }

    World &world_;
    Wire &wire_;
    const uint32_t size_;
    std::deque<Sent> flight_;  // from number first_ on
    uint64_t first_ = 0, flying_ = 0, recovered_ = 0, epoch_us_ = 0, progress_us_ = 0;
    double window_ = 10, threshold_ = 1e9, peak_ = 0, reno_ = 0, inflection_s_ = 0, rtt_us_ = 0;
    bool running_ = false;
};

class Reader : public Party {
  public:
    explicit Reader(Wire &wire) : wire_(wire) {}
    void receive(const uint8_t *packet, size_t size) override {
        delivered_ += size;
        wire_.send(packet, sizeof(uint64_t));
    }
    void settle() override {}
    void timeout() override {}
    uint64_t next_timeout_us() const override { return kNeverUs; }
    uint64_t delivered() const override { return delivered_; }

  private:
    Wire &wire_;
    uint64_t delivered_ = 0;
};

}  // namespace

std::unique_ptr<Party> make_cubic_sender(World &world, Party::Wire &wire, const Limits &limits) {
    return std::make_unique<Sender>(world, wire, limits);
}
std::unique_ptr<Party> make_cubic_reader(World &, Party::Wire &wire, const Limits &) {
    return std::make_unique<Reader>(wire);
}

}  // namespace quorate::bottleneck
