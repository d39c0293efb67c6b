/* The border of busy_poll.cpp: waiting for a socket without sleeping. Plain C below the marker, which
 * cffi reads as well. */
#ifndef QUORATE_ATTEND_H
#define QUORATE_ATTEND_H
#include <stdint.h>
#ifdef __cplusplus
extern "C" {
#endif
/* CDEF */
/* Look into a socket again and again for `slice_us` microseconds, at least once. 1: there is
 * something to read; 0: there was nothing; -1: another thread wanted this processor, and had it for
 * longer than `stolen_us`. Offers the processor to others between any two looks. */
int qp_attend(int fd, uint32_t slice_us, uint32_t stolen_us);
/* END */
#ifdef __cplusplus
}
#endif
#endif
