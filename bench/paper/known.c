/* SPDX-License-Identifier: MIT
 *
 * known.c — every word of a line that shows is known: its keys by the table below, its columns by
 * columns.def, the values of keep= by the lists of the project. What is not known is an error with
 * file, line and a guess, before anything runs: ignored, it would read as "not run".
 */
#include <stdlib.h>
#include <string.h>

#include "mosaic.h"
#include "pivot.h"
#include "show.h"
#include "task.h"
#include "verb.h"

/* --- values of columns ------------------------------------------------------------------------ */

enum { MOST_NAMES = 512 };

typedef struct names {
    const char *name[MOST_NAMES];
    int count;
    char text[4096]; /* of those that are cut out of a text */
    size_t used;
} names;

static void note_name(names *n, const char *name)
{
    if (n->count < MOST_NAMES) n->name[n->count++] = name;
}

static void add_list(names *n, const char *list)
{
    const char *name;
    for (int i = 0; (name = list_name(list, i)); i++)
        note_name(n, name);
}

/* The words of a text with these characters between them. */
static void add_words(names *n, const char *from, const char *between)
{
    char *at = n->text + n->used, *rest = NULL;
    const size_t size = strlen(from) + 1;
    if (n->used + size > sizeof n->text) return;
    memcpy(at, from, size);
    n->used += size;
    for (char *one = strtok_r(at, between, &rest); one; one = strtok_r(NULL, between, &rest))
        note_name(n, one);
}

/* What may stand in a column of names; none: anything. */
static void column_values(table of, const char *name, names *n)
{
    static const struct known_values {
        const char *column, *values; /* "of LIST", or the words */
    } known[] = {
        {"method", "of methods"},
        {"method", "of baselines"},
        {"op", "of ops"},
        {"task", "of tasks"},
        {"input", "of inputs"},
        {"input", "of sequences"},
        {"transform", "of transforms"},
        {"pass", "each|both"},
        {"backend", "ref|cuda|none"},
        {"split", "train|validation|test"},
        {"decoding", "teacher|greedy"},
        {"type", "f64|f32|tf32|bf16|f16|tokens|bytes"},
        {"what", "law|match|grad|golden|claim"},
        {"verdict", "PASS|MARGINAL|FAIL"},
        {"quantity", "weight|kernel|support|bandwidth|empty"},
    };
    n->count = 0;
    n->used = 0;
    for (size_t i = 0; i < sizeof known / sizeof *known; i++) {
        if (strcmp(known[i].column, name) != 0) continue;
        if (strncmp(known[i].values, "of ", 3) == 0)
            add_list(n, known[i].values + 3);
        else
            add_words(n, known[i].values, "|");
    }
    if (strcmp(name, "op") == 0 && of == TIME) {
        add_list(n, "tasks");
        note_name(n, "story_text");
        note_name(n, "bpe_encode");
    }
    if (strcmp(name, "input") == 0 && of == TIME) note_name(n, "train");
    const char *task_name;
    for (int i = 0; strcmp(name, "metric") == 0 && (task_name = list_name("tasks", i)); i++) {
        const struct task *t;
        if (task_find(task_name, &t) == OK) add_words(n, t->metrics, " ");
    }
}

status value_known(table of, const char *name, const char *value)
{
    char what[80];
    method m;
    const size_t length = strlen(value);
    names *n = malloc(sizeof *n);
    if (!n) return fail(ERR_MEMORY, "show: out of memory");
    column_values(of, name, n);
    int known = n->count == 0;
    for (int i = 0; i < n->count && !known; i++)
        known = strcmp(value, n->name[i]) == 0;
    if (!known && strcmp(name, "method") == 0) known = method_find(value, &m) == OK;
    if (!known && of == CHECK && length > 3) known = strcmp(value + length - 3, ".h5") == 0;
    snprintf(what, sizeof what, "keep: %.40s", name);
    if (!known)
        (void)fail_unknown(what, value, n->name, (size_t)n->count, "a value that the column has");
    free(n);
    return known ? OK : fail(ERR_DATA, "%s", last_error());
}

/* --- words of lines --------------------------------------------------------------------------- */

enum { IN_TABLE = 1, IN_FIGURE = 2, IN_STORY = 4, IN_CLAIM = 8, IN_COMPARED = 16, ANY_LINE = 31 };

typedef enum sort { FREE, WORD, TABLE_NAME, KEEP, COLUMNS, VALUES, FORMAT, RANGE, NUMBER } sort;

static const struct line_word {
    const char *name;
    int in;
    sort sort;
    const char *words; /* WORD: what it may be */
} line_words[] = {
    {"from", ANY_LINE, TABLE_NAME, ""},
    {"keep", ANY_LINE, KEEP, ""},
    {"title", IN_TABLE | IN_FIGURE | IN_STORY | IN_COMPARED, FREE, ""},
    {"rows", IN_TABLE, COLUMNS, ""},
    {"cols", IN_TABLE, COLUMNS, ""},
    {"cell", IN_TABLE | IN_CLAIM, VALUES, ""},
    {"format", IN_TABLE, FORMAT, ""},
    {"unit", IN_TABLE, FREE, ""},
    {"heads", IN_TABLE, FREE, ""},
    {"corner", IN_TABLE, FREE, ""},
    {"folded", IN_TABLE, WORD, "0|1"},
    {"labels", IN_TABLE | IN_FIGURE, WORD, "plain"},
    {"x", IN_FIGURE, COLUMNS, ""},
    {"y", IN_FIGURE, VALUES, ""},
    {"series", IN_FIGURE, COLUMNS, ""},
    {"floor", IN_FIGURE, VALUES, ""},
    {"style", IN_FIGURE, WORD, "lines|points|linespoints"},
    {"log", IN_FIGURE, WORD, "x|y|xy"},
    {"key", IN_FIGURE, WORD, "right|left|outside"},
    {"levels", IN_TABLE | IN_FIGURE, WORD, "0|1"},
    {"smooth", IN_FIGURE, NUMBER, ""},
    {"split", IN_FIGURE, NUMBER, ""},
    {"hollow", IN_FIGURE, KEEP, ""},
    {"hollow_note", IN_FIGURE, FREE, ""},
    {"xlabel", IN_FIGURE, FREE, ""},
    {"ylabel", IN_FIGURE, FREE, ""},
    {"xrange", IN_FIGURE, RANGE, ""},
    {"yrange", IN_FIGURE, RANGE, ""},
    {"a", IN_COMPARED, KEEP, ""},
    {"b", IN_COMPARED, KEEP, ""},
    {"by", IN_COMPARED, COLUMNS, ""},
    {"margin", IN_COMPARED, NUMBER, ""},
    {"paper", IN_CLAIM, NUMBER, ""},
    {"tol", IN_CLAIM, NUMBER, ""},
    {"at", IN_CLAIM, FREE, ""},
    {"versus", IN_CLAIM, KEEP, ""},
    {"each", IN_CLAIM, WORD, "theorem"},
    {"sign", IN_CLAIM, WORD, "-|+"},
};
enum { LINE_KEYS = sizeof line_words / sizeof *line_words };

static int is_range(const char *text)
{
    char one[64];
    double number;
    const char *colon = strchr(text, ':');
    if (!colon || (size_t)(colon - text) >= sizeof one) return 0;
    snprintf(one, sizeof one, "%.*s", (int)(colon - text), text);
    return (*one == '\0' || parse_real(one, &number)) &&
           (colon[1] == '\0' || parse_real(colon + 1, &number));
}

static int is_format(const char *text)
{
    return text[0] == '%' && text[1] == '.' && text[2] >= '0' && text[2] <= '9' &&
           (text[3] == 'f' || text[3] == 'g') && text[4] == '\0';
}

static status check_value(const struct line_word *k, table of, const char *value)
{
    double number;
    char what[80];
    int known = 1;
    names n = {.count = 0};
    snprintf(what, sizeof what, "%s", k->name);
    switch (k->sort) {
    case KEEP:
        return pivot_check(of, value, "", "");
    case COLUMNS:
        return pivot_check(of, "", value, "");
    case VALUES:
        return pivot_check(of, "", "", value);
    case TABLE_NAME:
        for (int t = 0; t < TABLES; t++)
            note_name(&n, table_name((table)t));
        break;
    case WORD:
        add_words(&n, k->words, "|");
        break;
    case FORMAT:
        known = is_format(value);
        break;
    case RANGE:
        known = is_range(value);
        break;
    case NUMBER:
        known = parse_real(value, &number);
        break;
    case FREE:
        break;
    }
    if (!known)
        return fail(ERR_DATA, "%s=%.60s: expected %s", k->name, value,
                    k->sort == FORMAT  ? "%.Nf or %.Ng"
                    : k->sort == RANGE ? "from:to"
                                       : "a number");
    for (int i = 0; i < n.count; i++)
        if (strcmp(n.name[i], value) == 0) return OK;
    if (n.count == 0) return OK;
    (void)fail_unknown(what, value, n.name, (size_t)n.count,
                       *k->words ? k->words : "a table of `mosaic list columns`");
    return fail(ERR_DATA, "%s", last_error());
}

/* A name that becomes one of files. */
static int is_id(const char *text)
{
    static const char kept[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_.-";
    return *text && *text != '.' && *text != '-' && text[strspn(text, kept)] == '\0' &&
           strlen(text) < 100;
}

static status check_word(const char *word, int in, table of)
{
    names n = {.count = 0};
    char name[64];
    const char *equals = strchr(word, '=');
    snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - word) : (int)strlen(word), word);
    for (int i = 0; i < LINE_KEYS; i++) {
        const struct line_word *k = &line_words[i];
        if (!(k->in & in)) continue;
        if (equals && strcmp(k->name, name) == 0) return check_value(k, of, equals + 1);
        note_name(&n, k->name);
    }
    (void)fail_unknown("unknown word", name, n.name, (size_t)n.count,
                       "key=value with a key of bench/paper/show.h");
    return fail(ERR_DATA, "%s", last_error());
}

static status check_line(const line *l)
{
    static const int in[] = {[LINE_TABLE] = IN_TABLE,
                             [LINE_FIGURE] = IN_FIGURE,
                             [LINE_STORY] = IN_STORY,
                             [LINE_COMPARED] = IN_COMPARED,
                             [LINE_CLAIM] = IN_CLAIM};
    const int shows = l->kind == LINE_TABLE || l->kind == LINE_FIGURE || l->kind == LINE_STORY ||
                      l->kind == LINE_COMPARED;
    if ((l->kind == LINE_NOTE || l->kind == LINE_DATA) && l->count != 1)
        return fail(ERR_DATA, "expected one text or file, got also \"%.60s\"", l->word[1]);
    if (!shows && l->kind != LINE_CLAIM) return OK;
    if (shows && !is_id(l->word[0]))
        return fail(ERR_DATA, "\"%.60s\": expected an ID of letters, digits, _, - and .",
                    l->word[0]);
    const char *from = line_value(l, "from", "");
    const table of = table_find(from);
    for (int i = 1; i < l->count; i++)
        if (strncmp(l->word[i], "from=", 5) == 0) TRY(check_word(l->word[i], in[l->kind], of));
    if (of == TABLES) return fail(ERR_DATA, "expected from=TABLE");
    if (l->kind == LINE_COMPARED && !(*line_value(l, "a", "") && *line_value(l, "b", "")))
        return fail(ERR_DATA, "expected a=KEEP and b=KEEP, the two sides");
    for (int i = 1; i < l->count; i++)
        TRY(check_word(l->word[i], in[l->kind], of));
    return OK;
}

static int among_profiles(const paper *p, const char *name)
{
    const size_t n = strlen(name);
    for (const char *at = p->profiles; *at; at += strcspn(at, ","), at += strspn(at, ", "))
        if (strncmp(at, name, n) == 0 && (at[n] == ',' || at[n] == '\0')) return 1;
    return 0;
}

status paper_check(const paper *p)
{
    for (int i = 0; i < p->count; i++) {
        const experiment *e = &p->experiments[i];
        if (!is_id(e->id))
            return fail(ERR_DATA,
                        "%s: experiment \"%.60s\": expected an ID of letters, digits, _, - "
                        "and .",
                        p->path, e->id);
        for (int j = 0; j < e->count; j++) {
            const line *l = &e->lines[j];
            const status s = check_line(l);
            if (s != OK) return fail(s, "%s:%d: %s", p->path, l->number, last_error());
            const char *at = l->kind == LINE_CLAIM ? line_value(l, "at", "") : "";
            if (*at && !among_profiles(p, at))
                return fail(ERR_DATA, "%s:%d: at=%.60s: expected one of %s", p->path, l->number, at,
                            p->profiles);
        }
    }
    return OK;
}
