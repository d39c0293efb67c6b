// The C face of the pump: the lock, and a barrier for exceptions.
#include "abi.h"

#include <cerrno>
#include <new>
#include <system_error>

#include "pump.h"

struct qp_pump {
    quorate::Pump pump;
    template <typename... Args>
    explicit qp_pump(Args &&...args) : pump(std::forward<Args>(args)...) {}
};

namespace {

// Python calls with the GIL released, so calls of several threads meet here.
template <typename Call>
auto guarded(qp_pump *pump, Call call) -> decltype(call(pump->pump)) {
    try {
        const std::lock_guard<std::mutex> lock(pump->pump.mutex);
        return call(pump->pump);
    } catch (const std::bad_alloc &) {
        return -ENOMEM;
    } catch (const std::exception &) {
        return -EIO;
    }
}

}  // namespace

using quorate::Pump;

qp_pump *qp_new(const qp_sodium *sodium, const qp_config *config, int fd, const uint8_t *seed,
                double now, int64_t *error) {
    try {
        return new qp_pump(*sodium, *config, fd, seed, now);
    } catch (const std::system_error &e) {
        *error = -e.code().value();
    } catch (const std::exception &) {
        *error = -ENOMEM;
    }
    return nullptr;
}

void qp_free(qp_pump *pump) { delete pump; }

int64_t qp_receive(qp_pump *pump, double now, uint32_t control_max, uint32_t bulk_max,
                   qp_batch *control) {
    return guarded(pump, [&](Pump &p) { return p.receive(now, control_max, bulk_max, control); });
}
int64_t qp_inject(qp_pump *pump, double now, const uint8_t *data, const qp_datagram *index,
                  uint32_t count, qp_batch *control) {
    return guarded(pump, [&](Pump &p) { return p.inject(now, data, index, count, control); });
}
int64_t qp_send(qp_pump *pump, const uint8_t *data, const qp_datagram *index, uint32_t count) {
    return guarded(pump, [&](Pump &p) { return p.send(data, index, count); });
}
int64_t qp_collect(qp_pump *pump, qp_batch *output) {
    return guarded(pump, [&](Pump &p) { return p.collect(output); });
}
int64_t qp_handle_timeout(qp_pump *pump, double now) {
    return guarded(pump, [&](Pump &p) { return p.handle_timeout(now); });
}
double qp_next_timeout(qp_pump *pump) {
    return guarded(pump, [](Pump &p) { return p.next_timeout(); });
}
int64_t qp_add_plane(qp_pump *pump, const qp_keys *keys, const uint8_t *address, int initiator) {
    return guarded(pump, [&](Pump &p) { return p.add_plane(*keys, address, initiator != 0); });
}
int64_t qp_add_bare_plane(qp_pump *pump, const uint8_t *address) {
    return guarded(pump, [&](Pump &p) { return p.add_bare_plane(address); });
}
int64_t qp_move_plane(qp_pump *pump, int64_t plane, const uint8_t *address) {
    return guarded(pump, [&](Pump &p) { return p.move_plane(plane, address); });
}
int64_t qp_rekey_plane(qp_pump *pump, int64_t plane, const qp_keys *keys, int send_now,
                       double retire_s) {
    return guarded(pump,
                   [&](Pump &p) { return p.rekey_plane(plane, *keys, send_now != 0, retire_s); });
}
int64_t qp_switch_plane(qp_pump *pump, int64_t plane) {
    return guarded(pump, [&](Pump &p) { return p.switch_plane(plane); });
}
int64_t qp_remove_plane(qp_pump *pump, int64_t plane) {
    return guarded(pump, [&](Pump &p) { return p.remove_plane(plane); });
}
int64_t qp_open_channel(qp_pump *pump, int64_t plane) {
    return guarded(pump, [&](Pump &p) { return p.open_channel(plane); });
}
int64_t qp_write(qp_pump *pump, int64_t channel, const uint8_t *data, size_t size) {
    return guarded(pump, [&](Pump &p) { return p.write(channel, data, size); });
}
int64_t qp_read(qp_pump *pump, int64_t channel, uint8_t *data, size_t size) {
    return guarded(pump, [&](Pump &p) { return p.read(channel, data, size); });
}
int64_t qp_readable(qp_pump *pump, int64_t channel) {
    return guarded(pump, [&](Pump &p) { return p.readable(channel); });
}
int64_t qp_finish(qp_pump *pump, int64_t channel) {
    return guarded(pump, [&](Pump &p) { return p.finish(channel); });
}
int64_t qp_close_channel(qp_pump *pump, int64_t channel, int abort) {
    return guarded(pump, [&](Pump &p) { return p.close_channel(channel, abort != 0); });
}
int64_t qp_poll_events(qp_pump *pump, qp_event *events, uint32_t count) {
    return guarded(pump, [&](Pump &p) { return p.poll_events(events, count); });
}
int64_t qp_poll_paths(qp_pump *pump, qp_path *paths, uint32_t count) {
    return guarded(pump, [&](Pump &p) { return p.poll_paths(paths, count); });
}
int64_t qp_counters_get(qp_pump *pump, qp_counters *out) {
    return guarded(pump, [&](Pump &p) -> int64_t {
        p.counters(out);
        return 0;
    });
}
int64_t qp_plane_figures_get(qp_pump *pump, int64_t plane, qp_plane_figures *out) {
    return guarded(pump, [&](Pump &p) { return p.plane_figures(plane, out); });
}
int64_t qp_channel_figures_get(qp_pump *pump, int64_t channel, qp_channel_figures *out) {
    return guarded(pump, [&](Pump &p) { return p.channel_figures(channel, out); });
}
int64_t qp_nearest(uint64_t low, uint32_t bits, int64_t largest) {
    return quorate::nearest(low, bits, largest);
}
