/* Worlds made of small integers, explored depth first. What members do is asked of the caller,
 * who answers with numbers and calls `worlds_run` again: see `worlds.c`. */

enum {
  WORLDS_SIZE_MAX = 8,
  WORLDS_DONE = 0,      /* everything was visited */
  WORLDS_CAPPED = 1,    /* there are more than `states_max` worlds */
  WORLDS_STEP = 2,      /* tell what this input of `local` comes to: worlds_effect */
  WORLDS_LOOK = 3,      /* look at the world in `locals`: its logs were not seen together before
                           (`news`), or nothing is possible any more in it (`end`) */
  WORLDS_CYCLE = 4,     /* the last step of the path leads to a world that it comes from */
  WORLDS_NO_MEMORY = 5,
  WORLDS_PAUSED = 6     /* nothing is asked: a while has passed */
};

typedef struct {
  uint32_t locals[8];       /* of the world to look at */
  uint32_t local;           /* whose step is asked for ... */
  uint32_t member;
  uint32_t sender;          /* ... a delivery from this member, */
  uint32_t message;
  uint32_t own;             /* or the input of its own with this number, */
  int32_t is_own;           /* if this says so */
  int32_t news;
  int32_t end;
  uint64_t states, transitions, ends, depth;
} worlds_report;

typedef struct worlds worlds;

worlds *worlds_new(uint32_t size, int reduce, uint64_t states_max);
void worlds_free(worlds *w);
const worlds_report *worlds_told(const worlds *w);

/* The next member state's number, or UINT32_MAX: no memory. `open` are the senders whose lanes
 * deliver to it, `closed` those whose lanes are gone, as bits; `owns` counts its own inputs. */
uint32_t worlds_local(worlds *w, int alive, uint32_t open, uint32_t closed, uint32_t owns,
                      uint32_t log);
/* Answers WORLDS_STEP: `to[i]` is sent `counts[i]` of the messages. 0, or no memory. */
int worlds_effect(worlds *w, uint32_t after, int reported, uint32_t receivers, const uint32_t *to,
                  const uint32_t *counts, const uint32_t *messages);
/* The world before any step. 0, or no memory. */
int worlds_begin(worlds *w, const uint32_t *locals);
int worlds_run(worlds *w);

/* The steps to the present world: member, and own input or 0x80000000 | sender. Returns how many
 * there are; writes up to `count_max` of them. */
uint64_t worlds_path(const worlds *w, uint32_t *members, uint32_t *inputs, uint64_t count_max);
