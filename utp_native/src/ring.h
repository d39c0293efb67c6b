// A bounded queue of bytes. It grows by doubling up to its bound and gives its memory back with the
// channel only: a transfer that stops and goes must not fault its pages in again each time.
#pragma once

#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

namespace quorate {

class Ring {
  public:
    Ring() = default;
    Ring(const Ring &) = delete;
    Ring &operator=(const Ring &) = delete;
    ~Ring() { std::free(data_); }

    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }

    // Takes as much as `limit` allows in all; returns how much.
    size_t push(const uint8_t *from, size_t count, size_t limit) {
        if (size_ >= limit) return 0;
        if (count > limit - size_) count = limit - size_;
        if (count == 0) return 0;
        reserve(size_ + count);
        const size_t tail = (head_ + size_) & (capacity_ - 1);
        const size_t first = count < capacity_ - tail ? count : capacity_ - tail;
        std::memcpy(data_ + tail, from, first);
        std::memcpy(data_, from + first, count - first);
        size_ += count;
        return count;
    }

    size_t pop(uint8_t *to, size_t count) {
        if (count > size_) count = size_;
        if (count == 0) return 0;
        const size_t first = count < capacity_ - head_ ? count : capacity_ - head_;
        std::memcpy(to, data_ + head_, first);
        std::memcpy(to + first, data_, count - first);
        drop(count);
        return count;
    }

    // The oldest bytes that stand in one piece.
    uint8_t *front(size_t *count) {
        *count = size_ < capacity_ - head_ ? size_ : capacity_ - head_;
        return data_ + head_;
    }

    void drop(size_t count) {
        size_ -= count;
        head_ = size_ ? (head_ + count) & (capacity_ - 1) : 0;
    }

    void clear() {
        std::free(data_);
        data_ = nullptr;
        capacity_ = head_ = size_ = 0;
    }

  private:
    void reserve(size_t wanted) {
        if (wanted <= capacity_) return;
        size_t capacity = capacity_ ? capacity_ : 4096;
        while (capacity < wanted) capacity *= 2;
        uint8_t *data = static_cast<uint8_t *>(std::malloc(capacity));
        if (!data) throw std::bad_alloc();
        if (size_) {
            const size_t first = size_ < capacity_ - head_ ? size_ : capacity_ - head_;
            std::memcpy(data, data_ + head_, first);
            std::memcpy(data + first, data_, size_ - first);
        }
        std::free(data_);
        data_ = data;
        capacity_ = capacity;
        head_ = 0;
    }

    uint8_t *data_ = nullptr;
    size_t capacity_ = 0, head_ = 0, size_ = 0;
};

}  // namespace quorate
