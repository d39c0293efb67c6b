/* The inner loop of the explorer: `scenarios/search/space.py` says what is explored and why it is enough.
 *
 * A world is an array of words: for each member the number of its state, for each ordered pair of
 * members the number of the contents of their lane. Lane contents are interned sequences of
 * messages. Worlds that were visited are known by 126 bits of hash; one more bit marks those on
 * the present path; all else about a world is forgotten when it is left.
 *
 * Nothing is called back: `worlds_run` returns whenever it needs to know something, and goes on
 * where it was when it is called again. */

#include "tables.h"
#include "worlds.h"

#define WHILE 0xffff /* transitions, less one: well under a second */

typedef struct {
  uint32_t open, closed, owns, log;
  uint32_t first_own; /* place of its own inputs' effects */
  int alive;
} local;

typedef struct {
  uint32_t after, first, count;
  int reported;
} effect;

typedef struct {
  uint32_t to, sequence;
} sending;

typedef struct {
  mark name;
  uint32_t members; /* whose steps are taken from here, as bits */
  uint32_t member, input;
} place; /* followed by the words of its world */

struct worlds {
  worlds_report told;
  uint32_t size, words;
  int reduce;
  uint64_t states_max;
  list locals, owns, effects, sends, path;
  map delivered;
  sequences lanes;
  mark *seen, *looked;
  uint64_t seen_size, looked_size, looked_used;
  uint32_t *next; /* the world a step leads to */
};

/* -- worlds ------------------------------------------------------------------------------------ */

static const local *local_of(const worlds *w, uint32_t number) {
  return (const local *)w->locals.items + number;
}

static place *place_at(const worlds *w, uint64_t depth) {
  size_t each = sizeof(place) + w->words * sizeof(uint32_t);
  return (place *)((char *)w->path.items + depth * each);
}

static uint32_t *words_of(place *p) { return (uint32_t *)(p + 1); }

static uint32_t lane_place(const worlds *w, uint32_t sender, uint32_t to) {
  return w->size + sender * w->size + to;
}

/* The senders with something that `member` can take. */
static uint32_t ready(const worlds *w, const uint32_t *world, uint32_t member) {
  uint32_t senders = 0;
  for (uint32_t k = 0; k < w->size; k++)
    if (world[lane_place(w, k, member)]) senders |= 1u << k;
  return senders & local_of(w, world[member])->open;
}

/* The members of the smallest strong stubborn set: with each member all those that are alive and
 * whose lanes to it are open and empty. */
static uint32_t chosen(const worlds *w, const uint32_t *world) {
  uint32_t counts[WORLDS_SIZE_MAX], senders[WORLDS_SIZE_MAX], alive = 0, able = 0;
  for (uint32_t m = 0; m < w->size; m++) {
    const local *l = local_of(w, world[m]);
    senders[m] = ready(w, world, m);
    counts[m] = l->owns + (uint32_t)__builtin_popcount(senders[m]);
    alive |= (uint32_t)(l->alive != 0) << m;
    able |= (uint32_t)(counts[m] != 0) << m;
  }
  if (!w->reduce) return able;
  uint32_t best = 0, best_count = NONE;
  for (uint32_t first = 0; first < w->size; first++) {
    if (!(able >> first & 1)) continue;
    uint32_t members = 1u << first, todo = members, count = 0;
    while (todo) {
      uint32_t j = (uint32_t)__builtin_ctz(todo);
      todo &= todo - 1;
      count += counts[j];
      uint32_t awaited = local_of(w, world[j])->open & ~senders[j] & alive & ~members & ~(1u << j);
      members |= awaited;
      todo |= awaited;
    }
    if (count < best_count) {
      best = members;
      best_count = count;
    }
  }
  return best & able;
}

/* Goes on to the world in `w->next`. */
static int enter(worlds *w, mark name) {
  size_t each = sizeof(place) + w->words * sizeof(uint32_t);
  if (reserve(&w->path, 1, each)) return -1;
  place *p = place_at(w, w->path.used++);
  p->name = name;
  p->members = chosen(w, w->next);
  p->member = p->input = 0;
  memcpy(words_of(p), w->next, w->words * sizeof(uint32_t));
  if (w->path.used > w->told.depth + 1) w->told.depth = w->path.used - 1;
  if (!p->members) w->told.ends++;
  return 0;
}

static int note(worlds *w, mark name) {
  if (mark_reserve(&w->seen, &w->seen_size, w->told.states)) return -1;
  mark *there = mark_find(w->seen, w->seen_size, name);
  *there = name;
  there->low |= 1;
  w->told.states++;
  return 0;
}

/* Whether these logs were not looked at together yet. */
static int unseen_logs(worlds *w, const uint32_t *world, int *failed) {
  uint32_t logs[WORLDS_SIZE_MAX];
  for (uint32_t m = 0; m < w->size; m++) logs[m] = local_of(w, world[m])->log;
  mark name = name_of(logs, w->size);
  *failed = mark_reserve(&w->looked, &w->looked_size, w->looked_used);
  if (*failed) return 0;
  mark *there = mark_find(w->looked, w->looked_size, name);
  if (there->high) return 0;
  *there = name;
  w->looked_used++;
  return 1;
}

/* Makes `w->next` of a step that is known. 0, or no memory. */
static int lead(worlds *w, const uint32_t *world, uint32_t member, int is_own, uint32_t sender,
                const effect *e) {
  uint32_t *next = w->next;
  memcpy(next, world, w->words * sizeof *next);
  if (!is_own) {
    uint32_t lane = lane_place(w, sender, member);
    next[lane] = without_head(&w->lanes, world[lane]);
    if (next[lane] == NONE) return -1;
  }
  const local *before = local_of(w, world[member]), *after = local_of(w, e->after);
  next[member] = e->after;
  for (uint32_t i = 0; i < e->count; i++) {
    const sending *s = (const sending *)w->sends.items + e->first + i;
    const local *there = local_of(w, next[s->to]);
    if (!there->alive || there->closed >> member & 1) continue;
    uint32_t lane = lane_place(w, member, s->to);
    next[lane] = append(&w->lanes, next[lane], s->sequence);
    if (next[lane] == NONE) return -1;
  }
  uint32_t gone = after->alive ? after->closed & ~before->closed : NONE;
  for (uint32_t k = 0; k < w->size; k++)
    if (gone >> k & 1) next[lane_place(w, k, member)] = 0;
  return 0;
}

/* The next step from here that is possible: 0 if there is none. */
static int next_step(const worlds *w, place *p, int *is_own, uint32_t *which) {
  for (; p->member < w->size; p->member++, p->input = 0) {
    if (!(p->members >> p->member & 1)) continue;
    const uint32_t *world = words_of(p);
    uint32_t owns = local_of(w, world[p->member])->owns;
    uint32_t senders = ready(w, world, p->member);
    while (p->input >= owns && p->input < owns + w->size && !(senders >> (p->input - owns) & 1))
      p->input++;
    if (p->input >= owns + w->size) continue;
    *is_own = p->input < owns;
    *which = *is_own ? p->input : p->input - owns;
    return 1;
  }
  return 0;
}

static uint32_t *effect_place(worlds *w, uint32_t number, int is_own, uint32_t which,
                              uint32_t message) {
  if (is_own) return (uint32_t *)w->owns.items + local_of(w, number)->first_own + which;
  return map_find(&w->delivered, ((uint64_t)number << 32 | (message * w->size + which)) + 1);
}

int worlds_run(worlds *w) {
  while (w->path.used) {
    place *p = place_at(w, w->path.used - 1);
    const uint32_t *world = words_of(p);
    int is_own, failed;
    uint32_t which, message = 0;
    if (!next_step(w, p, &is_own, &which)) {
      mark_find(w->seen, w->seen_size, p->name)->low &= ~1ull;
      w->path.used--;
      if (w->path.used) place_at(w, w->path.used - 1)->input++;
      continue;
    }
    uint32_t member = p->member, count;
    if (!is_own) message = contents(&w->lanes, world[lane_place(w, which, member)], &count)[0];
    uint32_t *known = effect_place(w, world[member], is_own, which, message);
    if (!known || *known == NONE) {
      w->told.local = world[member];
      w->told.member = member;
      w->told.is_own = is_own;
      w->told.own = w->told.sender = which;
      w->told.message = message;
      return WORLDS_STEP;
    }
    const effect *e = (const effect *)w->effects.items + *known;
    int reported = e->reported;
    if (lead(w, world, member, is_own, which, e)) return WORLDS_NO_MEMORY;
    int paused = !(++w->told.transitions & WHILE);
    mark name = name_of(w->next, w->words);
    mark *there = mark_find(w->seen, w->seen_size, name);
    if (there->high) {
      if (there->low & 1) return WORLDS_CYCLE;
      p->input++;
      if (paused) return WORLDS_PAUSED;
      continue;
    }
    if (w->told.states >= w->states_max) return WORLDS_CAPPED;
    if (note(w, name) || enter(w, name)) return WORLDS_NO_MEMORY;
    w->told.end = !place_at(w, w->path.used - 1)->members;
    failed = 0;
    w->told.news = (reported || w->told.end) && unseen_logs(w, w->next, &failed);
    if (failed) return WORLDS_NO_MEMORY;
    if (w->told.news || w->told.end) {
      memcpy(w->told.locals, w->next, w->size * sizeof(uint32_t));
      return WORLDS_LOOK;
    }
    if (paused) return WORLDS_PAUSED;
  }
  return WORLDS_DONE;
}

/* -- what the caller tells --------------------------------------------------------------------- */

worlds *worlds_new(uint32_t size, int reduce, uint64_t states_max) {
  if (!size || size > WORLDS_SIZE_MAX) return NULL;
  worlds *w = calloc(1, sizeof *w);
  if (!w) return NULL;
  w->size = size;
  w->words = size + size * size;
  w->reduce = reduce;
  w->states_max = states_max;
  w->next = calloc(w->words, sizeof *w->next);
  if (!w->next || reserve(&w->lanes.pool, 1, sizeof(uint32_t)) || intern(&w->lanes, 0)) {
    worlds_free(w);
    return NULL;
  }
  return w;
}

void worlds_free(worlds *w) {
  void *all[] = {w->locals.items,  w->owns.items,          w->effects.items,
                 w->sends.items,   w->path.items,          w->delivered.keys,
                 w->delivered.values, w->lanes.pool.items, w->lanes.items.items,
                 w->lanes.appended.keys, w->lanes.appended.values, w->lanes.table,
                 w->seen,          w->looked,              w->next};
  for (size_t i = 0; i < sizeof all / sizeof *all; i++) free(all[i]);
  free(w);
}

const worlds_report *worlds_told(const worlds *w) { return &w->told; }

uint32_t worlds_local(worlds *w, int alive, uint32_t open, uint32_t closed, uint32_t owns,
                      uint32_t log) {
  if (reserve(&w->locals, 1, sizeof(local)) || reserve(&w->owns, owns, sizeof(uint32_t)))
    return NONE;
  local made = {open, closed, owns, log, (uint32_t)w->owns.used, alive};
  ((local *)w->locals.items)[w->locals.used] = made;
  for (uint32_t i = 0; i < owns; i++) ((uint32_t *)w->owns.items)[w->owns.used++] = NONE;
  return (uint32_t)w->locals.used++;
}

int worlds_effect(worlds *w, uint32_t after, int reported, uint32_t receivers, const uint32_t *to,
                  const uint32_t *counts, const uint32_t *messages) {
  if (reserve(&w->effects, 1, sizeof(effect)) || reserve(&w->sends, receivers, sizeof(sending)))
    return -1;
  effect made = {after, (uint32_t)w->sends.used, receivers, reported};
  for (uint32_t i = 0; i < receivers; i++) {
    sending s = {to[i], joined(&w->lanes, 0, messages, counts[i])};
    if (s.sequence == NONE) return -1;
    ((sending *)w->sends.items)[w->sends.used++] = s;
    messages += counts[i];
  }
  uint32_t number = (uint32_t)w->effects.used;
  ((effect *)w->effects.items)[w->effects.used++] = made;
  if (w->told.is_own) {
    *effect_place(w, w->told.local, 1, w->told.own, 0) = number;
    return 0;
  }
  uint64_t what = w->told.message * w->size + w->told.sender;
  return map_add(&w->delivered, ((uint64_t)w->told.local << 32 | what) + 1, number);
}

int worlds_begin(worlds *w, const uint32_t *locals) {
  memset(w->next, 0, w->words * sizeof *w->next);
  memcpy(w->next, locals, w->size * sizeof *w->next);
  mark name = name_of(w->next, w->words);
  return note(w, name) || enter(w, name) ? -1 : 0;
}

uint64_t worlds_path(const worlds *w, uint32_t *members, uint32_t *inputs, uint64_t count_max) {
  uint64_t count = w->path.used ? w->path.used - 1 : 0;
  for (uint64_t i = 0; i < count && i < count_max; i++) {
    place *p = place_at(w, i);
    uint32_t owns = local_of(w, words_of(p)[p->member])->owns;
    members[i] = p->member;
    inputs[i] = p->input < owns ? p->input : 0x80000000u | (p->input - owns);
  }
  return count;
}
