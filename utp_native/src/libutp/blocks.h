// Blocks of one size that are used again: what packets in flight are kept in. A window's worth is
// taken once and given back with the connection. The last one given back is the next one taken, so
// it is still in the processor's cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace quorate {

class Blocks {
  public:
    Blocks() = default;
    Blocks(const Blocks &) = delete;
    Blocks &operator=(const Blocks &) = delete;
    ~Blocks() { clear(); }

    // Gives back what nobody has taken.
    void clear() {
        while (free_) std::free(pop());
    }

    // Throws std::bad_alloc. All of one pool are of one size.
    void *take(size_t size) {
        if (free_) return pop();
        size_ = size;
        void *block = std::malloc(size);
        if (!block) throw std::bad_alloc();
        made_++;
        return block;
    }

    void give(void *block) {
        std::memcpy(block, &free_, sizeof free_);
        free_ = block;
        guard(block, true);
    }

    uint32_t made() const { return made_; }

  private:
    void *pop() {
        void *block = free_;
        guard(block, false);
        std::memcpy(&free_, block, sizeof free_);
        return block;
    }

    // Whoever uses a block after it was given back is found by AddressSanitizer, as without a pool.
    void guard(const void *block, bool closed) const {
#ifdef __SANITIZE_ADDRESS__
        if (closed)
            __asan_poison_memory_region(block, size_);
        else
            __asan_unpoison_memory_region(block, size_);
#else
        (void)block, (void)closed;
#endif
    }

    void *free_ = nullptr;
    size_t size_ = 0;
    uint32_t made_ = 0;
};

}  // namespace quorate
