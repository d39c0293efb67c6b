// The Noise Protocol Framework, revision 34, for `25519_ChaChaPoly_BLAKE2b`: what
// transport/core/crypto/noise_portable.py does a primitive at a time, a message at a time. X25519 and the
// AEAD are libsodium's, BLAKE2b is hash.h. Section numbers are the framework's. Both implementations run through the same published vectors (test_noise.py).
#include "noise.h"

#include <cstdlib>
#include <cstring>

#include "erase.h"
#include "hash.h"

namespace {

using quorate::Blake2b512;
using quorate::Hmac;
using quorate::erase;

constexpr size_t kHash = 64, kKey = 32, kTag = 16, kNonce = 12;
constexpr uint8_t kE = 0, kS = 1, kPsk = 2, kKindMask = 3, kKeyed = 4, kOurs = 8, kTheirs = 16;
constexpr uint32_t kPsksMax = 4;
constexpr int64_t kForged = -1, kDegenerate = -2;

using Multiply = int (*)(unsigned char *q, const unsigned char *n, const unsigned char *p);
using Seal = int (*)(unsigned char *c, unsigned long long *clen, const unsigned char *m,
                     unsigned long long mlen, const unsigned char *ad, unsigned long long adlen,
                     const unsigned char *nsec, const unsigned char *npub, const unsigned char *k);
using Open = int (*)(unsigned char *m, unsigned long long *mlen, unsigned char *nsec,
                     const unsigned char *c, unsigned long long clen, const unsigned char *ad,
                     unsigned long long adlen, const unsigned char *npub, const unsigned char *k);
// Bytes that are overwritten when they go out of scope.
template <size_t Size>
struct Secret {
    uint8_t bytes[Size];
    ~Secret() { erase(bytes, Size); }
    operator uint8_t *() { return bytes; }
};

class Run {
  public:
    Run(const qp_noise_functions &f, qp_noise &state)
        : multiply_(reinterpret_cast<Multiply>(f.multiply)),
          seal_(reinterpret_cast<Seal>(f.seal)),
          open_(reinterpret_cast<Open>(f.open)),
          s(state) {}

    void mix_hash(const uint8_t *data, size_t size) {
        Blake2b512 digest;
        digest.update(s.hash, kHash);
        digest.update(data, size);
        digest.finish(s.hash);
    }

    // The first `outputs` (one to three) of HKDF (4.3), 64 bytes each.
    void hkdf(uint8_t *out, const uint8_t *material, size_t size, uint32_t outputs) {
        Secret<kHash> temporary;
        Hmac(s.chaining_key, size == 0).make(temporary, material, size);
        const Hmac under(temporary);
        uint8_t count = 1;
        under.make(out, &count, 1);
        for (uint32_t i = 1; i < outputs; i++) {
            count++;
            under.make(out + i * kHash, out + (i - 1) * kHash, kHash, &count, 1);
        }
    }

    void mix_key(const uint8_t *material, size_t size, bool keyed) {
        Secret<2 * kHash> outputs;
        hkdf(outputs, material, size, keyed ? 2 : 1);
        std::memcpy(s.chaining_key, outputs, kHash);
        if (keyed) set_key(outputs + kHash);
    }

    void mix_psk(bool keyed) {
        if (s.psks_used == kPsksMax) std::abort();  // Python has counted them
        Secret<3 * kHash> outputs;
        uint8_t *psk = s.psks[s.psks_used++];
        hkdf(outputs, psk, kKey, keyed ? 3 : 2);
        erase(psk, kKey);
        std::memcpy(s.chaining_key, outputs, kHash);
        mix_hash(outputs + kHash, kHash);
        if (keyed) set_key(outputs + 2 * kHash);
    }

    bool mix_shared(uint8_t step) {
        if (s.has_shared && (step & (kOurs | kTheirs)) == kTheirs) {
            s.has_shared = 0;
            mix_key(s.shared, kKey, step & kKeyed);
            erase(s.shared, kKey);
            return true;
        }
        Secret<kKey> shared;
        // libsodium refuses a result of all zeros (RFC 7748, 6.1).
        if (multiply_(shared, s.secret[step & kOurs ? 1 : 0], s.remote[step & kTheirs ? 1 : 0]))
            return false;
        mix_key(shared, kKey, step & kKeyed);
        return true;
    }

    void mix_ephemeral(const uint8_t *key, bool keyed) {
        mix_hash(key, kKey);
        if (s.psk_mode) mix_key(key, kKey, keyed);
    }

    size_t encrypt_and_hash(uint8_t *out, const uint8_t *plaintext, size_t size) {
        if (!s.keyed) {
            if (size) std::memcpy(out, plaintext, size);
        } else {
            uint8_t nonce[kNonce];
            next_nonce(nonce);
            seal_(out, nullptr, plaintext, size, s.hash, kHash, nullptr, nonce, s.key);
            size += kTag;
        }
        mix_hash(out, size);
        return size;
    }

    // The plaintext's size, or -1.
    int64_t decrypt_and_hash(uint8_t *out, const uint8_t *ciphertext, size_t size) {
        if (!s.keyed) {
            if (size) std::memcpy(out, ciphertext, size);
            mix_hash(ciphertext, size);
            return static_cast<int64_t>(size);
        }
        if (size < kTag) return kForged;
        uint8_t nonce[kNonce];
        next_nonce(nonce);
        if (open_(out, nullptr, nullptr, ciphertext, size, s.hash, kHash, nonce, s.key)) return kForged;
        mix_hash(ciphertext, size);
        return static_cast<int64_t>(size - kTag);
    }

  private:
    void set_key(const uint8_t *key) {
        std::memcpy(s.key, key, kKey);
        s.nonce = 0;
        s.keyed = 1;
    }

    void next_nonce(uint8_t *nonce) {
        std::memset(nonce, 0, 4);
        for (uint32_t i = 0; i < 8; i++) nonce[4 + i] = static_cast<uint8_t>(s.nonce >> (8 * i));
        s.nonce++;
    }

    Multiply multiply_;
    Seal seal_;
    Open open_;
    qp_noise &s;
};

}  // namespace

int64_t qp_noise_write(const qp_noise_functions *functions, qp_noise *state, const uint8_t *steps,
                       uint32_t count, const uint8_t *payload, uint32_t size, uint8_t *out) {
    Run run(*functions, *state);
    uint8_t *at = out;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t step = steps[i], kind = step & kKindMask;
        const bool keyed = step & kKeyed;
        if (kind == kE) {
            std::memcpy(at, state->public_key[0], kKey);
            run.mix_ephemeral(at, keyed);
            at += kKey;
        } else if (kind == kS) {
            at += run.encrypt_and_hash(at, state->public_key[1], kKey);
        } else if (kind == kPsk) {
            run.mix_psk(keyed);
        } else if (!run.mix_shared(step)) {
            return kDegenerate;
        }
    }
    at += run.encrypt_and_hash(at, payload, size);
    return at - out;
}

int64_t qp_noise_read(const qp_noise_functions *functions, qp_noise *state, const uint8_t *steps,
                      uint32_t count, const uint8_t *message, uint32_t size, uint8_t *out) {
    Run run(*functions, *state);
    const uint8_t *at = message, *end = message + size;
    for (uint32_t i = 0; i < count; i++) {
        const uint8_t step = steps[i], kind = step & kKindMask;
        const bool keyed = step & kKeyed;
        if (kind == kE) {
            if (static_cast<size_t>(end - at) < kKey) return kForged;
            std::memcpy(state->remote[0], at, kKey);
            run.mix_ephemeral(at, keyed);
            at += kKey;
        } else if (kind == kS) {
            const size_t taken = state->keyed ? kKey + kTag : kKey;
            if (static_cast<size_t>(end - at) < taken) return kForged;
            if (run.decrypt_and_hash(state->remote[1], at, taken) < 0) return kForged;
            at += taken;
        } else if (kind == kPsk) {
            run.mix_psk(keyed);
        } else if (!run.mix_shared(step)) {
            return kDegenerate;
        }
    }
    return run.decrypt_and_hash(out, at, static_cast<size_t>(end - at));
}

void qp_noise_split(const qp_noise_functions *functions, const qp_noise *state, uint8_t *out) {
    qp_noise copy = *state;  // nothing of it is written, but a run holds what it may write to
    Secret<2 * kHash> outputs;
    Run(*functions, copy).hkdf(outputs, nullptr, 0, 2);
    std::memcpy(out, outputs, kKey);
    std::memcpy(out + kKey, outputs + kHash, kKey);
    erase(&copy, sizeof copy);
}

void qp_noise_begin(const qp_noise_functions *functions, qp_noise *state, const uint8_t *first_hash,
                    const uint8_t *prologue, uint32_t size, const uint8_t *static_secret,
                    const uint8_t *static_public, const uint8_t *remote_static,
                    const uint8_t *ephemeral_secret, const uint8_t *ephemeral_public,
                    const uint8_t *shared, const uint8_t *psks, uint32_t psk_count,
                    const uint8_t *known, uint32_t known_count) {
    if (psk_count > kPsksMax) std::abort();  // Python has counted them
    const auto set = [](uint8_t *to, const uint8_t *key) {
        if (key) std::memcpy(to, key, kKey);
    };
    std::memcpy(state->hash, first_hash, kHash);
    std::memcpy(state->chaining_key, first_hash, kHash);
    set(state->secret[0], ephemeral_secret);
    set(state->public_key[0], ephemeral_public);
    set(state->secret[1], static_secret);
    set(state->public_key[1], static_public);
    set(state->remote[1], remote_static);
    set(state->shared, shared);
    state->has_shared = shared != nullptr;
    if (psk_count) std::memcpy(state->psks, psks, psk_count * kKey);
    state->psk_mode = psk_count != 0;
    Run run(*functions, *state);
    run.mix_hash(prologue, size);
    for (uint32_t i = 0; i < known_count; i++)
        run.mix_hash(known[i] ? state->remote[1] : state->public_key[1], kKey);
}

void qp_noise_erase(qp_noise *state) { erase(state, sizeof *state); }

void qp_derive(const uint8_t *key, const uint8_t *labels, uint32_t count, uint32_t size,
               uint8_t *out) {
    Blake2b512 keyed(kKey, key);
    keyed.settle();
    for (uint32_t i = 0; i < count; i++) {
        Blake2b512 digest = keyed;
        digest.update(labels + i * size, size);
        digest.finish(out + i * kKey, kKey);
    }
}
