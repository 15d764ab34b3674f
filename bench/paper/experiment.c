/* SPDX-License-Identifier: MIT
 *
 * experiment.c — reads bench/paper.exp and turns its run lines into cells.
 */
#include "experiment.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rng.h"
#include "verb.h"

enum { LONGEST_LINE = 8192, VARIABLES = 64 };

/* What the name of a variable is made of: $fewer is not $few. */
static const char letters[] = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789_";

typedef struct reader {
    paper *p;
    FILE *file;
    int number;
    int variables, profile_seen;
    char known[400]; /* the profiles so far, for messages */
    char *name[VARIABLES], *value[VARIABLES];
} reader;

static status oops(const reader *r, const char *expected)
{
    return fail(ERR_DATA, "%s:%d: expected %s", r->p->path, r->number, expected);
}

static status no_profile(const reader *r)
{
    return fail(ERR_ARG, "%s: no profile \"%s\": expected %s", r->p->path, r->p->profile, r->known);
}

/* One logical line without its comment; 0 at the end of the file. */
static int next_line(reader *r, char *text)
{
    size_t at = 0;
    text[0] = '\0';
    while (fgets(text + at, (int)(LONGEST_LINE - at), r->file)) {
        r->number++;
        int quoted = 0;
        char *c = text + at;
        for (; *c && (quoted || *c != '#') && *c != '\n'; c++)
            quoted ^= *c == '"';
        *c = '\0';
        at = strlen(text);
        if (at == 0 || text[at - 1] != '\\') return 1;
        text[at - 1] = ' ';
    }
    return at > 0;
}

/* At $name or $|name of a list: append its names, and return what follows; NULL if there is no such
 * list. */
static const char *take_listed(const char *c, char *out, size_t *n)
{
    const int bars = c[1] == '|';
    const char *name = c + 1 + bars;
    const size_t length = strspn(name, letters);
    char *names = listed_names(name, length, bars ? '|' : ',');
    const char *end = names && *names ? name + length : NULL;
    if (end) *n += (size_t)snprintf(out + *n, LONGEST_LINE - *n, "%s", names);
    free(names);
    return end;
}

static status no_variable(const reader *r, const char *name)
{
    char what[300];
    snprintf(what, sizeof what, "%.100s:%d: profile %.40s: unknown variable", r->p->path, r->number,
             r->p->profile);
    (void)fail_unknown(what, name, (const char *const *)r->name, (size_t)r->variables,
                       "a variable of this profile after $");
    return fail(ERR_DATA, "%s", last_error());
}

/* Replace every $name of the line, so that a variable may hold several words. */
static status substitute(const reader *r, const char *text, char *out)
{
    size_t n = 0;
    for (const char *c = text; *c;) {
        const char *listed = *c == '$' ? take_listed(c, out, &n) : NULL;
        if (listed) {
            c = listed;
        } else if (*c != '$') {
            out[n++] = *c++;
        } else {
            char name[64];
            const size_t length = strspn(++c, letters);
            int which = 0;
            snprintf(name, sizeof name, "%.*s", (int)length, c);
            while (which < r->variables && strcmp(r->name[which], name) != 0)
                which++;
            if (which == r->variables && !r->profile_seen) return no_profile(r);
            if (which == r->variables) return no_variable(r, name);
            n += (size_t)snprintf(out + n, LONGEST_LINE - n, "%s", r->value[which]);
            c += length;
        }
        if (n + 2 > LONGEST_LINE) return oops(r, "a shorter line");
    }
    out[n] = '\0';
    return OK;
}

/* Split into words at blanks; quotes hold them together and are removed. */
static status split_words(const reader *r, const char *text, char **word, int *count)
{
    *count = 0;
    for (const char *c = text;;) {
        char out[LONGEST_LINE];
        size_t n = 0;
        int quoted = 0;
        c += strspn(c, " \t");
        if (!*c) return OK;
        for (; *c && (quoted || (*c != ' ' && *c != '\t')); c++) {
            if (*c == '"')
                quoted = !quoted;
            else
                out[n++] = *c;
        }
        if (quoted) return oops(r, "a closing quote");
        out[n] = '\0';
        if (*count == LINE_WORDS) return oops(r, "fewer words");
        if (!(word[(*count)++] = strdup(out))) return fail(ERR_MEMORY, "experiment: out of memory");
    }
}

static void free_words(char **word, int count)
{
    for (int i = 0; i < count; i++)
        free(word[i]);
}

/* Does @a,b name this profile, or @!a,b not name it? */
static int for_profile(const char *list, const char *profile)
{
    size_t n = strlen(profile);
    int others = list[1] == '!';
    for (const char *at = list + 1 + others; at; at = strchr(at, ',') ? strchr(at, ',') + 1 : NULL)
        if (strncmp(at, profile, n) == 0 && (at[n] == ',' || at[n] == '\0')) return !others;
    return others;
}

static status take_profile(reader *r, char **word, int count)
{
    if (count < 2) return oops(r, "profile NAME key=value ...");
    size_t used = strlen(r->known);
    snprintf(r->known + used, sizeof r->known - used, "%s%s", used ? ", " : "", word[1]);
    if (strcmp(word[1], r->p->profile) != 0) return OK;
    r->profile_seen = 1;
    for (int i = 2; i < count; i++) {
        char *equals = strchr(word[i], '=');
        if (!equals) return oops(r, "key=value in a profile");
        if (r->variables == VARIABLES) return oops(r, "fewer variables");
        r->name[r->variables] = strndup(word[i], (size_t)(equals - word[i]));
        r->value[r->variables] = strdup(equals + 1);
        if (!r->name[r->variables] || !r->value[r->variables++])
            return fail(ERR_MEMORY, "experiment: out of memory");
    }
    return OK;
}

static status open_experiment(reader *r, char **word, int count)
{
    paper *p = r->p;
    if (count != 3) return oops(r, "experiment ID \"title\"");
    experiment *more = realloc(p->experiments, (size_t)(p->count + 1) * sizeof *more);
    if (!more) return fail(ERR_MEMORY, "experiment: out of memory");
    p->experiments = more;
    p->experiments[p->count] = (experiment){.id = strdup(word[1]), .title = strdup(word[2])};
    experiment *e = &p->experiments[p->count++];
    return e->id && e->title ? OK : fail(ERR_MEMORY, "experiment: out of memory");
}

static status add_line(reader *r, line_kind kind, char **word, int count)
{
    if (r->p->count == 0) return oops(r, "an experiment before this line");
    experiment *e = &r->p->experiments[r->p->count - 1];
    line *more = realloc(e->lines, (size_t)(e->count + 1) * sizeof *more);
    if (!more) return fail(ERR_MEMORY, "experiment: out of memory");
    e->lines = more;
    line *l = &e->lines[e->count++];
    *l = (line){.kind = kind, .number = r->number};
    for (; l->count < count; l->count++)
        if (!(l->word[l->count] = strdup(word[l->count])))
            return fail(ERR_MEMORY, "experiment: out of memory");
    return OK;
}

static status take_line(reader *r, char **word, int count)
{
    static const char *const kinds[] = {"note",   "run",   "then",    "data", "table",
                                        "figure", "story", "compare", "claim"};
    if (word[0][0] == '@') {
        if (!for_profile(word[0], r->p->profile)) return OK;
        word++;
        if (--count == 0) return oops(r, "a line after @profile");
    }
    if (strcmp(word[0], "profile") == 0) return take_profile(r, word, count);
    if (strcmp(word[0], "experiment") == 0) return open_experiment(r, word, count);
    for (int i = 0; i < (int)(sizeof kinds / sizeof *kinds); i++)
        if (strcmp(word[0], kinds[i]) == 0) {
            if (count < 2) return oops(r, "words after the first");
            return add_line(r, (line_kind)i, word + 1, count - 1);
        }
    return oops(r, "profile, experiment, note, run, then, data, table, figure, story or claim");
}

status paper_read(paper **out, const char *path, const char *profile)
{
    char *text = malloc(2 * LONGEST_LINE), *full = text ? text + LONGEST_LINE : NULL;
    char *word[LINE_WORDS];
    reader r = {.p = calloc(1, sizeof *r.p), .file = fopen(path, "r")};
    status s = OK;
    *out = NULL;
    if (!text || !r.p || !(r.p->path = strdup(path)))
        s = fail(ERR_MEMORY, "experiment: out of memory");
    else if (!r.file)
        s = fail(ERR_FILE, "%s: cannot be read: expected an experiment file", path);
    if (s == OK) r.p->profile = profile;
    while (s == OK && next_line(&r, text)) {
        int count = 0;
        /* Variables of other profiles may be unknown here; such lines start with @. */
        const char *start = text + strspn(text, " \t");
        char head[256];
        snprintf(head, sizeof head, "%.*s", (int)strcspn(start, " \t"), start);
        if (head[0] == '@' && !for_profile(head, profile)) continue;
        s = substitute(&r, start, full);
        if (s == OK) s = split_words(&r, full, word, &count);
        if (s == OK && count > 0) s = take_line(&r, word, count);
        free_words(word, count);
    }
    if (s == OK && !r.profile_seen) s = no_profile(&r);
    if (s == OK) snprintf(r.p->profiles, sizeof r.p->profiles, "%s", r.known);
    if (s == OK) s = paper_check(r.p);
    for (int i = 0; i < r.variables; i++) {
        if (strcmp(r.name[i], "scale") == 0 && !r.p->scale)
            r.p->scale = r.value[i];
        else if (strcmp(r.name[i], "card") == 0 && !r.p->card)
            r.p->card = r.value[i];
        else
            free(r.value[i]);
        free(r.name[i]);
    }
    if (r.file) fclose(r.file);
    free(text);
    if (s != OK)
        paper_free(r.p);
    else
        *out = r.p;
    return s;
}

void paper_free(paper *p)
{
    if (!p) return;
    for (int i = 0; i < p->count; i++) {
        experiment *e = &p->experiments[i];
        for (int j = 0; j < e->count; j++)
            free_words(e->lines[j].word, e->lines[j].count);
        free(e->lines);
        free(e->id);
        free(e->title);
    }
    free(p->experiments);
    free(p->scale);
    free(p->card);
    free(p->path);
    free(p);
}

const char *line_value(const line *l, const char *name, const char *fallback)
{
    size_t n = strlen(name);
    for (int i = 0; i < l->count; i++)
        if (strncmp(l->word[i], name, n) == 0 && l->word[i][n] == '=') return l->word[i] + n + 1;
    return fallback;
}

/* The i-th choice of a {a,b,c} list, and how many there are; a word without one has one choice. */
static int choices(const char *word)
{
    const char *open = strchr(word, '{');
    int n = 1;
    for (const char *c = open; c && *c && *c != '}'; c++)
        n += *c == ',';
    return n;
}

static char *item_chosen(const char *word, int i)
{
    const char *open = strchr(word, '{'), *close = open ? strchr(open, '}') : NULL;
    if (!close) return strdup(word);
    const char *from = open + 1;
    for (; i > 0; i--)
        from = strchr(from, ',') + 1;
    size_t length = strcspn(from, ",}");
    char *out = malloc(strlen(word) + 1);
    if (out) sprintf(out, "%.*s%.*s%s", (int)(open - word), word, (int)length, from, close + 1);
    return out;
}

/* A name of at most 120 bytes that says what the cell is; a hash keeps long ones apart. */
static char *cell_name(const cell *c, const char *prefix, int tests_best)
{
    char text[4096];
    size_t n = (size_t)snprintf(text, sizeof text, "%s%s", prefix ? prefix : "", prefix ? "+" : "");
    n += (size_t)snprintf(text + n, sizeof text - n, "%s", c->verb);
    for (int i = 0; i < c->count && n < sizeof text; i++)
        n += (size_t)snprintf(text + n, sizeof text - n, ",%s", c->word[i]);
    if (tests_best && n < sizeof text) snprintf(text + n, sizeof text - n, ",best=@");
    uint64_t hash = fnv1a(FNV_OFFSET, text, strlen(text));
    for (char *at = text; *at; at++)
        if (strchr("/ :<>|\"\\", *at)) *at = '-';
    if (strlen(text) > 120) snprintf(text + 100, 20, "-%016llx", (unsigned long long)hash);
    return strdup(text);
}

static char *join_texts(const char *a, const char *b, const char *c)
{
    char *out = malloc(strlen(a) + strlen(b) + strlen(c) + 2);
    if (out) sprintf(out, "%s%s%s", a, b, c);
    return out;
}

static status plan_cell(cells *all, const paper *p, const experiment *e, const line *l,
                        const int *pick, const char *results, int after)
{
    cell *more = realloc(all->cell, (size_t)(all->count + 1) * sizeof *more);
    if (!more) return fail(ERR_MEMORY, "experiment: out of memory");
    all->cell = more;
    if (after >= 0 && !all->cell[after].checkpoint)
        return fail(ERR_ARG, "%s:%d: expected checkpoint=@ in the run line before", p->path,
                    l->number);
    cell *c = &all->cell[all->count++];
    *c = (cell){.of = e, .verb = strdup(l->word[0]), .after = after};
    int keeps = 0, tests_best = 0;
    for (int i = 1; i < l->count; i++) {
        if (strcmp(l->word[i], "from=@") == 0) continue;
        if (strcmp(l->word[i], "checkpoint=@") == 0)
            keeps = 1;
        else if (strcmp(l->word[i], "best=@") == 0)
            tests_best = 1;
        else if ((c->word[c->count] = item_chosen(l->word[i], pick[i])))
            c->count++;
        else
            return fail(ERR_MEMORY, "experiment: out of memory");
    }
    if (!c->verb) return fail(ERR_MEMORY, "experiment: out of memory");
    c->name = cell_name(c, after >= 0 ? all->cell[after].name : NULL, tests_best);
    char *folder = malloc(strlen(results) + strlen(p->profile) + strlen(e->id) + 4);
    if (folder) sprintf(folder, "%s/%s/%s/", results, p->profile, e->id);
    if (folder && c->name) c->result = join_texts(folder, c->name, ".h5");
    if (folder && c->name && keeps) c->checkpoint = join_texts(folder, c->name, ".checkpoint.h5");
    if (folder && c->name && tests_best) c->best = join_texts(folder, c->name, ".best.h5");
    free(folder);
    if (!c->result || (keeps && !c->checkpoint) || (tests_best && !c->best))
        return fail(ERR_MEMORY, "experiment: out of memory");
    if (strlen(c->result) + 32 < PATH_MAX) return OK;
    return fail(ERR_ARG, "%.60s...: path too long", results);
}

/* All choices of a line, the last list turning fastest. */
static status plan_line(cells *all, const paper *p, const experiment *e, const line *l,
                        const char *results, int after)
{
    int pick[LINE_WORDS] = {0};
    for (;;) {
        TRY(plan_cell(all, p, e, l, pick, results, after));
        int i = l->count - 1;
        for (; i > 0; i--) {
            if (++pick[i] < choices(l->word[i])) break;
            pick[i] = 0;
        }
        if (i <= 0) return OK;
    }
}

status cells_plan(const paper *p, const char *results, const char *const *ids, int ids_count,
                  cells *all)
{
    *all = (cells){0};
    for (int i = 0; i < ids_count; i++) {
        int known = 0;
        for (int j = 0; j < p->count; j++)
            known |= strcmp(ids[i], p->experiments[j].id) == 0;
        if (!known) return fail(ERR_ARG, "%s: no experiment \"%s\"", p->path, ids[i]);
    }
    for (int j = 0; j < p->count; j++) {
        const experiment *e = &p->experiments[j];
        int wanted = ids_count == 0, first = all->count, last = first;
        for (int i = 0; i < ids_count; i++)
            wanted |= strcmp(ids[i], e->id) == 0;
        for (int k = 0; wanted && k < e->count; k++) {
            const line *l = &e->lines[k];
            if (l->kind == LINE_RUN) {
                first = all->count;
                TRY(plan_line(all, p, e, l, results, -1));
                last = all->count;
            } else if (l->kind == LINE_THEN) {
                for (int c = first; c < last; c++)
                    TRY(plan_line(all, p, e, l, results, c));
            }
        }
    }
    return OK;
}

void cells_free(cells *all)
{
    for (int i = 0; i < all->count; i++) {
        cell *c = &all->cell[i];
        free_words(c->word, c->count);
        free(c->verb);
        free(c->name);
        free(c->result);
        free(c->checkpoint);
        free(c->best);
    }
    free(all->cell);
    *all = (cells){0};
}
