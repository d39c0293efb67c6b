#pragma once

#include <cstddef>
#include <cstring>

namespace quorate {

// Overwrites secrets in a way the compiler may not leave out.
inline void erase(void *data, size_t size) {
    std::memset(data, 0, size);
    // What was written may be read here, for all the compiler knows.
    __asm__ __volatile__("" : : "r"(data) : "memory");
}

}  // namespace quorate
