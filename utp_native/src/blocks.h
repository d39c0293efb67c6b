// Blocks of one size that are used again: what packets in flight are kept in. A window's worth is
// taken once and given back with the connection. The last one given back is the next one taken, so
// it is still in the processor's cache.
#pragma once

#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace quorate {

class Blocks {
  public:
    Blocks() = default;
    Blocks(const Blocks &) = delete;
    Blocks &operator=(const Blocks &) = delete;
    ~Blocks() {
        while (free_) std::free(pop());
    }

    // Throws std::bad_alloc. All of one pool are of one size.
    void *take(size_t size) {
        if (free_) return pop();
        void *block = std::malloc(size);
        if (!block) throw std::bad_alloc();
        made_++;
        return block;
    }

    void give(void *block) {
#ifdef __SANITIZE_ADDRESS__
        std::free(block);  // what is used after it was given back is to be found
#else
        std::memcpy(block, &free_, sizeof free_);
        free_ = block;
#endif
    }

    uint32_t made() const { return made_; }

  private:
    void *pop() {
        void *block = free_;
        std::memcpy(&free_, block, sizeof free_);
        return block;
    }

    void *free_ = nullptr;
    uint32_t made_ = 0;
};

}  // namespace quorate
