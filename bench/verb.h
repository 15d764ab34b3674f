/* SPDX-License-Identifier: MIT
 *
 * verb.h — the command line: `mosaic VERB key=value ...`. One table (verbs.def) says which verbs
 * and keys exist, of what kind, with what bounds and default; parsing, --help and did-you-mean come
 * from it, so a verb sees only values that are well formed.
 *
 * Grammar of a value:   item[,item...]      item = word | number | a..b | a..b:xF | a..b:+S | all
 *   1..3 is 1,2,3; 256..16384:x2 doubles; 0..1:+0.25 steps; numbers may be fractions (4/3); all is
 *   every word that the key may have.
 */
#ifndef MOSAIC_VERB_H
#define MOSAIC_VERB_H

#include <stdint.h>
#include <stdio.h>

#include "spec.h"

/* Exit codes of the program, documented in `mosaic --help`. */
enum {
    EXIT_GOOD = 0,   /* done, and every check passed                         */
    EXIT_CHECK = 1,  /* a check failed or a number regressed                 */
    EXIT_USAGE = 2,  /* the command line or a value is wrong                 */
    EXIT_DATA = 3,   /* a file is missing, damaged, or cannot be written     */
    EXIT_SYSTEM = 4, /* out of memory, or the device failed                 */
    EXIT_SKIP = 77   /* nothing to do here (no device, not in this build)    */
};

/* Of compare and gate, whose exit code is their verdict; 77 is what it is of others. */
enum {
    EXIT_NO_VERDICT = 1, /* usage, files, memory, device                    */
    EXIT_WORSE = 2,      /* something is slower or worse                    */
    EXIT_UNSURE = 3,     /* nothing is, but something is ambiguous          */
    EXIT_WRONG = 4       /* an answer is wrong, so that it has no time      */
};

typedef enum key_kind {
    TEXT,  /* one word                    */
    PATH,  /* one file or folder, read     */
    MADE,  /* one file that is written    */
    INTO,  /* one folder that is written to */
    TEXTS, /* a list of words             */
    FILES, /* a list of paths; patterns (*?[) expand, here because no shell expands key=*.h5, but
            * what names a file is that file, whatever commas it holds */
    INT,   /* one integer                 */
    INTS,  /* a list of integers          */
    REAL,  /* one number                  */
    REALS, /* a list of numbers           */
    FLAG   /* 0 or 1                      */
} key_kind;

typedef struct key_row {
    const char *name;
    key_kind kind;
    const char *fallback; /* value when absent; "" means "not given"                      */
    const char *bound;    /* what a value may be, see verbs.def; "": anything              */
    const char *help;
} key_row;

typedef struct words words;
typedef int verb_fn(const words *w);

#define VERB(name, about) verb_fn verb_##name;
#define KEY(name, kind, fallback, bound, help)
#include "verbs.def"
#undef VERB
#undef KEY

/* Parse argv-like words ("key=value") of a verb. ERR_ARG says in one line what is wrong with which
 * word. A bare word extends the list before it (golden=a.h5 b.h5); with none before it
 * goes to the key `ids` or `file`; a file that is there is a file, also if its name holds '='. */
status words_parse(const char *verb, int count, char *const *text, words **w);
void words_free(words *w);

/* OK if no file that the words want written is one that they want read, another one to be written,
 * or the standard output, and none is a device, pipe or folder; ERR_ARG, ERR_FILE (files.c). */
status files_check(const words *w);
int files_written(const words *w); /* 1 if they want a file or a folder written */
/* What is in the files and folders that the words name to be read, wherever they lie; "" of none.
 */
enum { FILES_DIGEST = 24 };
void files_digest(const words *w, char text[FILES_DIGEST]);

const char *words_verb(const words *w);
/* The i-th key of its verb; NULL past the end. */
const key_row *word_key(const words *w, int i);
int word_has(const words *w, const char *name);   /* the verb has such a key */
int word_given(const words *w, const char *name); /* by the user, not by default */
const char *word_text(const words *w, const char *name);
int64_t word_int(const words *w, const char *name);
double word_real(const words *w, const char *name);
/* Lists: the count, and the i-th item. */
int64_t word_count(const words *w, const char *name);
const char *word_text_at(const words *w, const char *name, int64_t i);
int64_t word_int_at(const words *w, const char *name, int64_t i);
double word_real_at(const words *w, const char *name, int64_t i);
/* 1 if a key has the values that it has when it is not given. */
int word_is_default(const words *w, const char *name);
/* What a key of a verb is when it is not given; NULL if the verb has none of this name. */
const char *key_fallback(const char *verb, const char *name);
/* The i-th key of a verb; NULL past the end. */
const char *key_name(const char *verb, int i);
/* 1 if text is among the values of a key. */
int word_chooses(const words *w, const char *name, const char *text);
/* All values of a key in the spelling that is compared and stored, by commas: numbers in full. */
void word_value(const words *w, const char *name, char *text, size_t size);
/* The command line in canonical form: verb and the given words in table order, one space apart,
 * each as it can be typed again. skip (may be NULL): space-separated keys left out (out=, threads=,
 * ...). Caller frees. */
char *words_canonical(const words *w, const char *skip);
/* The command line without what decides no number: where files lie, how many threads work. Two
 * commands of one key that read the same (files_digest) make the same results. Caller frees. */
char *words_key(const words *w);

/* The i-th name of a list that `mosaic list` prints ("ops", "methods", ...; "lists": of those
 * lists), with repetitions where several rows share a name; NULL past the end. */
const char *list_name(const char *list, int i);
/* What stands in its i-th row under a head ("theorem" of "claims"); NULL if there is none. */
const char *list_cell(const char *list, int i, const char *head);

/* Does backend= mean a device, here (auto) or anywhere? (info.c) */
int runs_on_card(const char *name);

/* What verbs.def says (help.c), on standard output: the program, a verb, all of it as a manual
 * page, and completion for bash; "mosaic VERSION (COMMIT)". */
void help_program(void);
void help_verb(const char *verb);
void help_manual(void);
void help_completion(void);
const char *version_line(void);

/* Run a verb from its words; returns its exit code. */
int verb_dispatch(const char *verb, int count, char *const *text);

/* What a number is made with, as stored in results: "name\tvalue" lines of build, machine and
 * device (info.c); NULL without memory. Caller frees. */
char *provenance_text(void);

/* Print "mosaic VERB: ..." as one line on stderr and return EXIT_USAGE. */
#if defined(__GNUC__)
__attribute__((format(printf, 1, 2)))
#endif
int usage_error(const char *format, ...);
/* Print last_error() as one line on stderr and return the exit code that belongs to s. */
int status_exit(status s);

/* Progress on stderr: a bar with ETA on a terminal, a line a minute otherwise, nothing if
 * MOSAIC_QUIET is set. total = 0: unknown. */
typedef struct progress {
    const char *what;
    int64_t total, done;
    int64_t first; /* done before, by another program: counted, but not timed */
    double part;   /* of the work, where its pieces are not alike; 0: done / total       */
    double start, last;
    int terminal;
} progress;
void progress_start(progress *p, const char *what, int64_t total);
void progress_step(progress *p, int64_t done, const char *note); /* note may be NULL */
/* The same; part: 0..1, of the work. */
void progress_part(progress *p, int64_t done, double part, const char *note);
void progress_end(progress *p);

double seconds_now(void); /* CLOCK_MONOTONIC */

#endif
