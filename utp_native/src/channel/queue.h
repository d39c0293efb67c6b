// A queue of bytes in pieces. It holds what is in it and little more: a piece is given up as soon as
// it has been read, so that memory follows what waits and not what once waited.
#pragma once

#include <algorithm>
#include <cstddef>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <new>

#ifdef __SANITIZE_ADDRESS__
#include <sanitizer/asan_interface.h>
#endif

namespace quorate {

struct Piece {
    Piece *next;
    uint32_t capacity;    // bytes after this head
    uint32_t begin, end;  // what of them is in the queue
    uint8_t *data() { return reinterpret_cast<uint8_t *>(this + 1); }
};

// Where all queues of a pump have their pieces from. Some full-sized ones are kept: a transfer that
// stops and goes must not fault its pages in again each time.
class Pieces {
  public:
    static constexpr size_t kLeast = 4096, kMost = 32768;  // with the head
    static constexpr size_t kSpareMax = 128;

    Pieces() = default;
    Pieces(const Pieces &) = delete;
    Pieces &operator=(const Pieces &) = delete;
    ~Pieces() {
        while (spare_) std::free(pop());
    }

    // Throws std::bad_alloc.
    Piece *take(size_t size) {
        Piece *piece = size == kMost && spare_ ? pop() : nullptr;
        if (!piece) {
            piece = static_cast<Piece *>(std::malloc(size));
            if (!piece) throw std::bad_alloc();
            held_ += size;
        }
        piece->next = nullptr;
        piece->capacity = static_cast<uint32_t>(size - sizeof(Piece));
        piece->begin = piece->end = 0;
        return piece;
    }

    void give(Piece *piece) {
        const size_t size = piece->capacity + sizeof(Piece);
        if (size == kMost && spares_ < kSpareMax) {
            piece->next = spare_;
            spare_ = piece;
            spares_++;
#ifdef __SANITIZE_ADDRESS__
            __asan_poison_memory_region(piece->data(), piece->capacity);
#endif
            return;
        }
        held_ -= size;
        std::free(piece);
    }

    // Bytes of memory, those of spare pieces included.
    size_t held() const { return held_; }

  private:
    Piece *pop() {
        Piece *piece = spare_;
        spare_ = piece->next;
        spares_--;
#ifdef __SANITIZE_ADDRESS__
        __asan_unpoison_memory_region(piece->data(), piece->capacity);
#endif
        return piece;
    }

    Piece *spare_ = nullptr;
    size_t spares_ = 0, held_ = 0;
};

class Queue {
  public:
    explicit Queue(Pieces &pieces) : pieces_(pieces) {}
    Queue(const Queue &) = delete;
    Queue &operator=(const Queue &) = delete;
    ~Queue() { clear(); }

    size_t size() const { return size_; }
    bool empty() const { return size_ == 0; }

    // Takes as much as `limit` allows in all; returns how much. Throws std::bad_alloc, and has
    // taken nothing then.
    size_t push(const uint8_t *from, size_t count, size_t limit) {
        if (size_ >= limit) return 0;
        count = std::min(count, limit - size_);
        if (count == 0) return 0;
        reserve(count);
        for (size_t left = count; left > 0;) {
            if (filling_->end == filling_->capacity) filling_ = filling_->next;
            const size_t part = std::min<size_t>(left, filling_->capacity - filling_->end);
            std::memcpy(filling_->data() + filling_->end, from, part);
            filling_->end += static_cast<uint32_t>(part);
            from += part;
            left -= part;
        }
        room_ -= count;
        size_ += count;
        return count;
    }

    size_t pop(uint8_t *to, size_t count) {
        count = std::min(count, size_);
        for (size_t left = count; left > 0;) {
            const size_t part = std::min<size_t>(left, first_->end - first_->begin);
            std::memcpy(to, first_->data() + first_->begin, part);
            drop(part);
            to += part;
            left -= part;
        }
        return count;
    }

    // The oldest bytes, where they stand: at most `most` spans. Returns how many spans there are.
    template <typename Span> size_t spans(Span *out, size_t most) const {
        size_t count = 0, left = size_;
        for (Piece *piece = first_; left > 0 && count < most; piece = piece->next) {
            const size_t part = piece->end - piece->begin;
            out[count].iov_base = piece->data() + piece->begin;
            out[count++].iov_len = part;
            left -= part;
        }
        return count;
    }

    // Forgets so many of the oldest bytes.
    void drop(size_t count) {
        size_ -= count;
        if (size_ == 0) return clear();
        while (count > 0) {
            const size_t part = std::min<size_t>(count, first_->end - first_->begin);
            first_->begin += static_cast<uint32_t>(part);
            count -= part;
            if (first_->begin < first_->end) return;
            Piece *read = first_;
            first_ = read->next;
            pieces_.give(read);
        }
    }

    void clear() {
        while (first_) {
            Piece *next = first_->next;
            pieces_.give(first_);
            first_ = next;
        }
        filling_ = last_ = nullptr;
        size_ = room_ = 0;
    }

  private:
    // Pieces that were made before memory ran out stay for the next call.
    void reserve(size_t count) {
        while (room_ < count) {
            size_t size = last_ ? 2 * (last_->capacity + sizeof(Piece)) : Pieces::kLeast;
            while (size < Pieces::kMost && size < count - room_ + sizeof(Piece)) size *= 2;
            Piece *piece = pieces_.take(std::min(size, Pieces::kMost));
            if (last_) {
                last_->next = piece;
            } else {
                first_ = filling_ = piece;
            }
            last_ = piece;
            room_ += piece->capacity;
        }
    }

    Pieces &pieces_;
    Piece *first_ = nullptr, *filling_ = nullptr, *last_ = nullptr;
    size_t size_ = 0, room_ = 0;
};

}  // namespace quorate
