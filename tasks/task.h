/* SPDX-License-Identifier: MIT
 *
 * task.h — data, scores and oracles. This room knows tokens, not models.
 *
 * A dataset is an opened (task, split, length): a sequence of samples, each addressable by its
 * index and the same on every machine. A sample is one training pair of the spec of the tasks,
 * section 0.1: x[0..T-1] the input ids, y[0..T-1] the targets with IGNORE where nothing is scored.
 * All functions on an open dataset except dataset_close may be called from several threads.
 */
#ifndef MOSAIC_TASK_H
#define MOSAIC_TASK_H

#include "spec.h"

struct bytes; /* bytes.h */
struct tokens;

enum { IGNORE = -1 };

enum { SPLIT_TRAIN = 0, SPLIT_VALIDATION = 0x100, SPLIT_TEST = 0x200 };
/* "train", "validation" or "test" of a split, whatever its shard. */
const char *split_name(int split);

/* The types of the kinds of options.def. */
typedef const char *PATH_option, *TEXT_option;
typedef int64_t INT_option;
typedef double REAL_option;
typedef int FLAG_option;

/* What a user can say about data (options.def), and which part of it. Strings are borrowed. */
typedef struct data_options {
    int split;       /* SPLIT_TRAIN, or SPLIT_VALIDATION / SPLIT_TEST plus shard number */
    int64_t length;  /* nominal length L: a shard has exactly L, training samples L/2..L;
                        0: the task's own                                                */
    int64_t samples; /* 0: the default of this split (generated training data: no end) */
#define OPTION(key, field, kind, fallback, bound, help) kind##_option field;
#include "options.def"
#undef OPTION
} data_options;

/* The training split, and the defaults of the list. */
data_options data_options_default(void);

typedef struct sample {
    int64_t T;      /* positions of x and y */
    int32_t *x, *y; /* room for `longest` of the dataset each */
    int64_t index;  /* which sample of the dataset this is */
    int64_t answer; /* first position whose target belongs to the answer; 0 if all */
} sample;

/* What a predictor says about a sample; room for `longest` positions of its dataset. */
typedef struct prediction {
    double *loss;    /* [T] -ln p of the target, 0 where there is none            */
    int32_t *argmax; /* [T] the likeliest id, lowest on ties; -1: a logit is NaN  */
    double *logits;  /* [T][vocab], or NULL: only some tasks look at them         */
} prediction;

/* A running sum of one metric. Proportions carry Wilson intervals. */
typedef struct metric {
    char name[24]; /* "ce", "token_acc", "exact", "assoc", "acc", "tvd", "kl", ... */
    double sum;    /* mean = sum / count */
    int64_t count;
    int proportion; /* 1: sum counts successes among count */
} metric;

enum { MAX_METRICS = 24 };
typedef struct metrics {
    int count;
    metric m[MAX_METRICS];
} metrics;

/* Find or append. */
metric *metrics_find(metrics *all, const char *name, int proportion);
void metrics_add(metrics *all, const char *name, int proportion, double sum, int64_t count);
/* Add the sum that `from` has under this name, over a count of the task's own. */
void metrics_take(metrics *all, const metrics *from, const char *name, int64_t count);
/* Sum b into a (for shards evaluated in parts, always merged in index order). */
void metrics_merge(metrics *a, const metrics *b);

typedef struct dataset dataset;
struct task;

struct task {
    const char *name, *title, *source;
    int id;              /* stream id of the spec of the tasks, section 0.3 */
    const char *metrics; /* space-separated; the first is the headline */
    int greedy; /* 1: the answer can be decoded greedily (seq2seq): proportions read argmax */
    int logits; /* 1: score() looks at the logits, not only at loss and argmax */
    int validation_only; /* 1: no test split; write() makes both files */
    status (*open)(const struct task *t, const data_options *o, dataset **out);
    /* Write the official file format under folder `out` (created if missing). */
    status (*write)(const struct task *t, const data_options *o, const char *out);
};

/* Behind an open dataset. One file per task fills it. */
struct dataset {
    const struct task *task;
    data_options options;
    int64_t samples;         /* 0: unbounded */
    int64_t longest;         /* largest T of any sample */
    int32_t vocab;           /* width of the logits */
    int32_t pad;             /* id that pads x */
    uint64_t hash;           /* of the data (FNV-1a; the seed and options if generated) */
    uint64_t tokenizer_hash; /* 0: no tokenizer */
    void *state;
    status (*sample)(const dataset *d, int64_t index, struct sample *s);
    /* Score a prediction of a sample into `all`. */
    status (*score)(const dataset *d, const struct sample *s, const prediction *p, metrics *all);
    /* Logits [T][vocab] of the best possible predictor; NULL if there is none. */
    status (*oracle)(const dataset *d, const struct sample *s, double *logits);
    /* Baselines "chance", "unigram", "2gram", "3gram" (order 0..3): logits [T][vocab]. NULL if
     * there are none; chance is then uniform over the vocabulary. */
    status (*ngram)(const dataset *d, const struct sample *s, int order, double *logits);
    /* Append what a model reads before it goes on by itself: the ids of a text as people type it,
     * between those that frame it in training. ERR_ARG names what is no id. NULL: no sequence of
     * this task goes on, its answers are labels. */
    status (*prompt)(const dataset *d, const char *text, size_t count, struct tokens *ids);
    /* Append the text of an id, which is none for `end`; ERR_DATA if no sequence goes on with it.
     */
    status (*spell)(const dataset *d, int32_t id, struct bytes *text);
    const char *between; /* the texts of two ids       */
    int32_t end;         /* ends a sequence; -1: none */
    void (*close)(dataset *d);
};

/* The table (tasks.def), and search by name with a did-you-mean in the error line. */
int task_count(void);
const struct task *task_row(int i);
status task_find(const char *name, const struct task **t);

/* Open a dataset; on failure *out is NULL. */
status dataset_open(const char *task, const data_options *o, dataset **out);
void dataset_close(dataset *d); /* NULL is fine */

/* Cross-entropy, token accuracy and exact match of the scored targets of one sample: what every
 * task reports ("ce" nats per scored target, "token_acc"), exact over all scored targets except
 * those equal to `skip_target` (EOS), which may be -2 for none. */
void score_tokens(const sample *s, const prediction *p, int32_t skip_target, metrics *all);
/* Loss and argmax of the logits of a prediction. */
void prediction_read(const sample *s, int32_t vocab, prediction *p);

/* A bounded queue filled by worker threads and read in a fixed order. What a batch holds does not
 * depend on the threads. */
typedef struct prefetch prefetch;

/* Samples whose lengths are alike, padded on the right to the longest of them. */
typedef struct task_part {
    int64_t first, B, T;             /* rows [first, first + B) of the batch */
    const int32_t *tokens, *targets; /* [B][T]                               */
} task_part;

/* The samples of a batch, longest first, those of one length as they were asked for; cut into parts
 * that lie one behind the other. */
typedef struct task_batch {
    int64_t B, T;          /* samples; positions of the longest */
    const sample *row;     /* [B], x and y within the parts     */
    const task_part *part; /* [parts], in the order of the rows */
    int64_t parts;
} task_batch;

/* Which batches, and how they are cut. */
typedef struct prefetch_plan {
    int64_t B;            /* most samples of a batch                                          */
    int64_t first, count; /* number of the first batch; how many, 0: no end                   */
    int64_t apart;        /* a cut must spare more padded positions; UNCUT: batches stay whole */
    int threads;          /* 0: all work is done in prefetch_next                             */
    /* Which sample stands in a row of a batch; negative: none. NULL: sample batch * B + row, none
     * past the last. Called from the worker threads. */
    int64_t (*index)(void *user, int64_t batch, int64_t row);
    void *user;
} prefetch_plan;
#define UNCUT INT64_MAX

status prefetch_open(const dataset *d, const prefetch_plan *plan, prefetch **out);
/* The next batch, valid until the following call. ERR_DATA etc. from the generator; OK with B = 0
 * past the end. */
status prefetch_next(prefetch *p, task_batch *b);
void prefetch_close(prefetch *p); /* NULL is fine */

#endif
