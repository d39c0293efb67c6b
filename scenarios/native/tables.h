/* What worlds are made of: growing lists, maps of integers, sets of hashes, and the interned
 * sequences of messages that stand on lanes. Functions that need memory return -1, or NONE, if
 * there is none. */

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#define NONE UINT32_MAX

typedef struct {
  uint64_t high, low; /* low's first bit: on the present path */
} mark;

/* A map from 64-bit keys, never 0, to 32-bit values. */
typedef struct {
  uint64_t *keys;
  uint32_t *values;
  uint64_t size, used;
} map;

typedef struct {
  void *items;
  uint64_t size, used;
} list;

typedef struct {
  uint32_t at, length; /* in the pool of words */
  uint32_t rest;       /* all but the head, once asked for */
} sequence;

typedef struct {
  list pool, items;
  map appended;    /* by a sequence and what is put after it */
  uint32_t *table; /* of numbers of items, by their contents */
  uint64_t table_size;
} sequences;

/* -- containers -------------------------------------------------------------------------------- */

static int reserve(list *l, uint64_t more, size_t each) {
  if (l->used + more <= l->size) return 0;
  uint64_t size = l->size ? l->size : 64;
  while (size < l->used + more) size *= 2;
  void *items = realloc(l->items, size * each);
  if (!items) return -1;
  l->items = items;
  l->size = size;
  return 0;
}

static uint64_t mixed(uint64_t x) {
  x ^= x >> 33;
  x *= 0xff51afd7ed558ccdull;
  x ^= x >> 33;
  x *= 0xc4ceb9fe1a85ec53ull;
  return x ^ x >> 33;
}

static uint32_t *map_find(const map *m, uint64_t key) {
  if (!m->size) return NULL;
  for (uint64_t at = mixed(key) & (m->size - 1); m->keys[at]; at = (at + 1) & (m->size - 1))
    if (m->keys[at] == key) return &m->values[at];
  return NULL;
}

static int map_add(map *m, uint64_t key, uint32_t value) {
  if (m->used * 3 >= m->size * 2) {
    map bigger = {NULL, NULL, m->size ? 2 * m->size : 1024, 0};
    bigger.keys = calloc(bigger.size, sizeof *bigger.keys);
    bigger.values = malloc(bigger.size * sizeof *bigger.values);
    if (!bigger.keys || !bigger.values) {
      free(bigger.keys);
      free(bigger.values);
      return -1;
    }
    for (uint64_t i = 0; i < m->size; i++)
      if (m->keys[i]) map_add(&bigger, m->keys[i], m->values[i]);
    free(m->keys);
    free(m->values);
    *m = bigger;
  }
  uint64_t at = mixed(key) & (m->size - 1);
  while (m->keys[at]) at = (at + 1) & (m->size - 1);
  m->keys[at] = key;
  m->values[at] = value;
  m->used++;
  return 0;
}

/* 126 bits of some words: two multiplicative hashes that share nothing but their input. */
static mark name_of(const uint32_t *words, uint32_t count) {
  uint64_t high = 0x243f6a8885a308d3ull, low = 0x13198a2e03707344ull;
  for (uint32_t i = 0; i < count; i++) {
    high = (high ^ words[i]) * 0x9e3779b97f4a7c15ull;
    high ^= high >> 29;
    low = (low + words[i]) * 0xd6e8feb86659fd93ull;
    low ^= low >> 32;
  }
  mark name = {mixed(high) | 1, mixed(low) & ~1ull};
  return name;
}

/* Where a name is in an open table, or the empty place for it. */
static mark *mark_find(mark *table, uint64_t size, mark name) {
  uint64_t at = (name.low >> 1) & (size - 1);
  while (table[at].high && (table[at].high != name.high || (table[at].low & ~1ull) != name.low))
    at = (at + 1) & (size - 1);
  return &table[at];
}

/* Room for one more of `used` names, with a third of the table empty. */
static int mark_reserve(mark **table, uint64_t *size, uint64_t used) {
  if (*size && (used + 1) * 3 <= *size * 2) return 0;
  uint64_t bigger = *size ? 2 * *size : 1024;
  mark *names = calloc(bigger, sizeof *names);
  if (!names) return -1;
  for (uint64_t i = 0; i < *size; i++) {
    mark name = {(*table)[i].high, (*table)[i].low & ~1ull};
    if (name.high) *mark_find(names, bigger, name) = (*table)[i];
  }
  free(*table);
  *table = names;
  *size = bigger;
  return 0;
}

/* -- lanes ------------------------------------------------------------------------------------- */

static uint64_t sequence_hash(const uint32_t *words, uint32_t length) {
  return name_of(words, length).high;
}

static const uint32_t *contents(const sequences *q, uint32_t number, uint32_t *length) {
  const sequence *s = (const sequence *)q->items.items + number;
  *length = s->length;
  return (const uint32_t *)q->pool.items + s->at;
}

/* The number of a sequence that stands at the end of the pool, which keeps it only if it is new. */
static uint32_t intern(sequences *q, uint32_t length) {
  if (q->items.used * 2 >= q->table_size) {
    uint64_t size = q->table_size ? 2 * q->table_size : 1024;
    uint32_t *table = malloc(size * sizeof *table);
    if (!table) return NONE;
    memset(table, 0xff, size * sizeof *table);
    for (uint32_t i = 0; i < q->items.used; i++) {
      uint32_t count;
      const uint32_t *words = contents(q, i, &count);
      uint64_t at = sequence_hash(words, count) & (size - 1);
      while (table[at] != NONE) at = (at + 1) & (size - 1);
      table[at] = i;
    }
    free(q->table);
    q->table = table;
    q->table_size = size;
  }
  const uint32_t *words = (const uint32_t *)q->pool.items + q->pool.used;
  uint64_t at = sequence_hash(words, length) & (q->table_size - 1);
  for (; q->table[at] != NONE; at = (at + 1) & (q->table_size - 1)) {
    uint32_t count;
    const uint32_t *there = contents(q, q->table[at], &count);
    if (count == length && (!length || !memcmp(there, words, length * sizeof *words)))
      return q->table[at];
  }
  if (reserve(&q->items, 1, sizeof(sequence))) return NONE;
  sequence made = {(uint32_t)q->pool.used, length, NONE};
  ((sequence *)q->items.items)[q->items.used] = made;
  q->pool.used += length;
  q->table[at] = (uint32_t)q->items.used;
  return (uint32_t)q->items.used++;
}

/* The sequence of some words after another sequence. */
static uint32_t joined(sequences *q, uint32_t number, const uint32_t *more, uint32_t more_count) {
  uint32_t count;
  contents(q, number, &count);
  if (reserve(&q->pool, count + more_count + 1, sizeof(uint32_t))) return NONE;
  uint32_t *end = (uint32_t *)q->pool.items + q->pool.used;
  if (count) memcpy(end, contents(q, number, &count), count * sizeof *end);
  if (more_count) memcpy(end + count, more, more_count * sizeof *end);
  return intern(q, count + more_count);
}

static uint32_t append(sequences *q, uint32_t lane, uint32_t more) {
  uint64_t key = ((uint64_t)lane << 32 | more) + 1;
  uint32_t *known = map_find(&q->appended, key);
  if (known) return *known;
  uint32_t count;
  contents(q, more, &count);
  uint32_t *copy = malloc((count + 1) * sizeof *copy);
  if (!copy) return NONE;
  memcpy(copy, contents(q, more, &count), count * sizeof *copy);
  uint32_t made = joined(q, lane, copy, count);
  free(copy);
  return made == NONE || map_add(&q->appended, key, made) ? NONE : made;
}

static uint32_t without_head(sequences *q, uint32_t lane) {
  uint32_t rest = ((sequence *)q->items.items)[lane].rest;
  if (rest != NONE) return rest;
  uint32_t count;
  contents(q, lane, &count);
  if (reserve(&q->pool, count, sizeof(uint32_t))) return NONE;
  memcpy((uint32_t *)q->pool.items + q->pool.used, contents(q, lane, &count) + 1,
         (count - 1) * sizeof(uint32_t));
  rest = intern(q, count - 1);
  ((sequence *)q->items.items)[lane].rest = rest;
  return rest;
}

