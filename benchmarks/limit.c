// What this machine can do: the work of a case in C. One thread per core, starts in blocks with the
// axis of the starts contiguous, so that every loop over them becomes vector instructions.
//
// limit many LOSS RULE HISTORY RUNS STEPS RATE THREADS FILE   starts: float32 (runs, D) in FILE
// limit one LOSS RULE HISTORY 1 STEPS RATE 1 FILE             one run of D parameters (Rosenbrock)
// limit copy NUMBERS STEPS THREADS                            three arrays copied at each step
//
// For every line on stdin the work is done once, and a line says how many nanoseconds it took and
// the median of the final losses.
#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#ifndef D
#define D 10
#endif
#define B 64
#define POINTS 20
#define TERMS (D / 2)
#define ALIGNED __attribute__((aligned(64)))
#define INLINE static inline __attribute__((always_inline))

enum loss { ROSENBROCK, RASTRIGIN, EXPONENTIALS };
enum rule { ADAM, MOMENTUM, RMSPROP, DECAYED };

typedef struct {
  int loss, rule, history, runs, steps;
  float rate;
} work;

static float measured[POINTS], when[POINTS];

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return 1e9 * t.tv_sec + t.tv_nsec;
}

// The gradient at x, and the loss if `value` is not null.
INLINE void evaluate(int loss, float (*restrict x)[B], float (*restrict g)[B], float *restrict value) {
  if (loss == RASTRIGIN) {
    const float turn = 6.283185307179586f;
    if (value)
      for (int b = 0; b < B; b++) value[b] = 10.f * D;
    for (int d = 0; d < D; d++)
      for (int b = 0; b < B; b++) {
        float at = x[d][b];
        g[d][b] = 2 * at + 10 * turn * sinf(turn * at);
        if (value) value[b] += at * at - 10 * cosf(turn * at);
      }
  } else if (loss == ROSENBROCK) {
    for (int b = 0; b < B; b++) g[0][b] = 0;
    if (value)
      for (int b = 0; b < B; b++) value[b] = 0;
    for (int d = 0; d + 1 < D; d++)
      for (int b = 0; b < B; b++) {
        float at = x[d][b], ahead = x[d + 1][b] - at * at, away = 1 - at;
        g[d][b] -= 400 * at * ahead + 2 * away;
        g[d + 1][b] = 200 * ahead;
        if (value) value[b] += 100 * ahead * ahead + away * away;
      }
  } else {
    float missed[B] ALIGNED, decays[TERMS][B] ALIGNED;
    for (int d = 0; d < D; d++)
      for (int b = 0; b < B; b++) g[d][b] = 0;
    if (value)
      for (int b = 0; b < B; b++) value[b] = 0;
    for (int j = 0; j < POINTS; j++) {
      for (int b = 0; b < B; b++) missed[b] = -measured[j];
      for (int k = 0; k < TERMS; k++)
        for (int b = 0; b < B; b++) {
          decays[k][b] = expf(-when[j] * x[TERMS + k][b]);
          missed[b] += x[k][b] * decays[k][b];
        }
      if (value)
        for (int b = 0; b < B; b++) value[b] += missed[b] * missed[b];
      for (int k = 0; k < TERMS; k++)
        for (int b = 0; b < B; b++) {
          float back = 2 * missed[b] * decays[k][b];
          g[k][b] += back;
          g[TERMS + k][b] -= back * x[k][b] * when[j];
        }
    }
  }
}

// All steps of one block. `loss`, `rule` and `history` are constants where this is inlined.
INLINE void descend(int loss, int rule, int history, const work *w, float (*restrict x)[B],
                    float *restrict rows) {
  float m[D][B] ALIGNED, v[D][B] ALIGNED, g[D][B] ALIGNED;
  memset(m, 0, sizeof m);
  memset(v, 0, sizeof v);
  double b1 = 1, b2 = 1, rate = w->rate;
  const double decay = pow(0.5, 1 / 500.0);
  for (int t = 0; t < w->steps; t++) {
    evaluate(loss, x, g, history ? rows + (size_t)t * B : 0);
    b1 *= 0.9, b2 *= 0.999;
    const float a = rule == ADAM ? rate / (1 - b1) : rate, c = 1 / (1 - b2);
    for (int d = 0; d < D; d++)
      for (int b = 0; b < B; b++) {
        float slope = g[d][b];
        if (rule == ADAM) {
          m[d][b] = 0.9f * m[d][b] + 0.1f * slope;
          v[d][b] = 0.999f * v[d][b] + 0.001f * slope * slope;
          x[d][b] -= a * m[d][b] / (sqrtf(v[d][b] * c) + 1e-8f);
        } else if (rule == MOMENTUM) {
          m[d][b] = 0.9f * m[d][b] + slope;
          x[d][b] -= a * m[d][b];
        } else if (rule == RMSPROP) {
          v[d][b] = 0.9f * v[d][b] + 0.1f * slope * slope;
          x[d][b] -= a * slope / sqrtf(v[d][b] + 1e-8f);
        } else {
          x[d][b] -= a * slope;
        }
      }
    if (rule == DECAYED) rate *= decay;
  }
}

#define FORM(L, R) \
  static void L##_##R##_0(const work *w, float (*x)[B], float *r) { descend(L, R, 0, w, x, r); } \
  static void L##_##R##_1(const work *w, float (*x)[B], float *r) { descend(L, R, 1, w, x, r); }
#define FORMS(L) FORM(L, ADAM) FORM(L, MOMENTUM) FORM(L, RMSPROP) FORM(L, DECAYED)

typedef void form(const work *, float (*)[B], float *);
#ifdef ALONE // one run needs none of them, and gcc takes seconds for them
static form *const table[3][4][2];
#else
FORMS(ROSENBROCK) FORMS(RASTRIGIN) FORMS(EXPONENTIALS)
#define NAMES(L) \
  {{L##_ADAM_0, L##_ADAM_1}, {L##_MOMENTUM_0, L##_MOMENTUM_1}, \
   {L##_RMSPROP_0, L##_RMSPROP_1}, {L##_DECAYED_0, L##_DECAYED_1}}
static form *const table[3][4][2] = {NAMES(ROSENBROCK), NAMES(RASTRIGIN), NAMES(EXPONENTIALS)};
#endif

typedef struct {
  const work *w;
  float *x, *rows;
  size_t first, end; // blocks; of a copy, numbers
  int steps;
} share;

static void *blocks(void *given) {
  share *s = given;
  form *run = table[s->w->loss][s->w->rule][s->w->history];
  for (size_t k = s->first; k < s->end; k++)
    run(s->w, (float(*)[B])(s->x + k * D * B),
        s->rows ? s->rows + k * (size_t)s->w->steps * B : 0);
  return 0;
}

// One run: vectors go along the parameters.
static void *alone(void *given) {
  share *s = given;
  float *restrict x = s->x, m[D] ALIGNED = {0}, v[D] ALIGNED = {0}, g[D] ALIGNED;
  float ahead[D] ALIGNED;
  double b1 = 1, b2 = 1;
  for (int t = 0; t < s->steps; t++) {
    float value = 0;
    for (int d = 0; d + 1 < D; d++) {
      float away = 1 - x[d];
      ahead[d] = x[d + 1] - x[d] * x[d];
      value += 100 * ahead[d] * ahead[d] + away * away;
      g[d] = -400 * x[d] * ahead[d] - 2 * away;
    }
    g[D - 1] = 0;
    for (int d = 0; d + 1 < D; d++) g[d + 1] += 200 * ahead[d];
    s->rows[t] = value;
    b1 *= 0.9, b2 *= 0.999;
    const float a = s->w->rate / (1 - b1), c = 1 / (1 - b2);
    for (int d = 0; d < D; d++) {
      m[d] = 0.9f * m[d] + 0.1f * g[d];
      v[d] = 0.999f * v[d] + 0.001f * g[d] * g[d];
      x[d] -= a * m[d] / (sqrtf(v[d] * c) + 1e-8f);
    }
  }
  return 0;
}

static void *copy(void *given) {
  share *s = given;
  const size_t n = s->end - s->first;
  for (int t = 0; t < s->steps; t++)
    for (int k = 0; k < 3; k++) {
      float *from = t % 2 ? s->rows : s->x, *to = t % 2 ? s->x : s->rows;
      const size_t at = k * s->w->runs + s->first;
      memcpy(to + at, from + at, n * sizeof(float));
    }
  return 0;
}

static void spread(void *(*job)(void *), share all, size_t parts, int threads) {
  pthread_t made[threads];
  share shares[threads];
  for (int i = 0; i < threads; i++) {
    shares[i] = all;
    shares[i].first = parts * i / threads;
    shares[i].end = parts * (i + 1) / threads;
    if (i) pthread_create(&made[i], 0, job, &shares[i]);
  }
  job(&shares[0]);
  for (int i = 1; i < threads; i++) pthread_join(made[i], 0);
}

static int ascending(const void *a, const void *b) {
  float x = *(const float *)a, y = *(const float *)b;
  return (x > y) - (x < y);
}

static float *room(size_t numbers) {
  float *made = aligned_alloc(64, (numbers * sizeof(float) + 63) / 64 * 64);
  memset(made, 0, numbers * sizeof(float)); // the pages exist before the clock starts
  return made;
}

static float median_loss(const work *w, float *x, float *ends) {
  static float g[D][B] ALIGNED;
  for (int k = 0; k < w->runs / B; k++) {
    float (*block)[B] = (float(*)[B])(x + (size_t)k * D * B);
    evaluate(w->loss, block, g, ends + k * B);
  }
  qsort(ends, w->runs, sizeof(float), ascending);
  return (ends[w->runs / 2 - 1] + ends[w->runs / 2]) / 2;
}

static int repeat(work *w, int threads, const float *starts, int one) {
  const size_t numbers = (size_t)w->runs * D, all_rows = (size_t)w->runs * w->steps;
  float *x = room(numbers), *rows = w->history ? room(all_rows) : 0, *ends = room(w->runs);
  share all = {w, x, rows, 0, 0, w->steps};
  char line[8];
  while (fgets(line, sizeof line, stdin)) {
    for (size_t i = 0; i < numbers; i++) // (runs, D) to (blocks, D, B)
      x[one ? i : (i / D / B * D + i % D) * B + i / D % B] = starts[i];
    double began = now();
    if (one)
      alone(&all);
    else
      spread(blocks, all, w->runs / B, threads);
    double took = now() - began;
    printf("%.0f %.9g\n", took, one ? rows[w->steps - 1] : median_loss(w, x, ends));
    fflush(stdout);
  }
  return 0;
}

static int copies(size_t numbers, int steps, int threads) {
  work w = {.runs = numbers};
  share all = {&w, room(3 * numbers), room(3 * numbers), 0, 0, steps};
  char line[8];
  while (fgets(line, sizeof line, stdin)) {
    double began = now();
    spread(copy, all, numbers, threads);
    printf("%.0f nan\n", now() - began);
    fflush(stdout);
  }
  return 0;
}

int main(int count, char **words) {
  if (count == 5 && !strcmp(words[1], "copy"))
    return copies(atol(words[2]), atoi(words[3]), atoi(words[4]));
  if (count != 10) return fprintf(stderr, "see the top of limit.c\n"), 2;
  work w = {atoi(words[2]), atoi(words[3]), atoi(words[4]), atoi(words[5]), atoi(words[6]),
            atof(words[7])};
  const float amplitudes[] = {2, -1, 1.5f, 0.5f, -0.7f}, rates[] = {0.3f, 0.8f, 1.5f, 2.5f, 4};
  for (int j = 0; j < POINTS; j++) {
    when[j] = 0.1f + j * 3.9f / (POINTS - 1);
    for (int k = 0; k < 5; k++) measured[j] += amplitudes[k] * expf(-when[j] * rates[k]);
  }
  const size_t numbers = (size_t)w.runs * D;
  float *starts = room(numbers);
  FILE *file = fopen(words[9], "rb");
  if (!file || fread(starts, sizeof(float), numbers, file) != numbers) return 2;
  return repeat(&w, atoi(words[8]), starts, !strcmp(words[1], "one"));
}
