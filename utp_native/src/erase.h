#pragma once

#include <cstddef>

namespace quorate {

// Overwrites secrets in a way the compiler may not leave out.
inline void erase(void *data, size_t size) {
    volatile unsigned char *p = static_cast<volatile unsigned char *>(data);
    while (size--) *p++ = 0;
}

}  // namespace quorate
