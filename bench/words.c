/* SPDX-License-Identifier: MIT
 *
 * words.c — the one grammar: key=value words checked against verbs.def before a verb runs.
 */
#include "verb.h"

#include <glob.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "bytes.h"
#include "mosaic.h"

enum { MAX_ITEMS = 4096, MAX_CHOICES = 256 };

typedef struct item {
    char *text;
    double number;
    int64_t integer;
} item;

typedef struct word {
    const key_row *key;
    int given;
    int64_t count;
    item *items;
    char *source; /* as typed, for words_canonical */
} word;

struct words {
    const char *verb;
    int count;
    word *word;
};

typedef struct table_row {
    int is_verb;
    const char *verb;
    key_row key;
} table_row;

static const table_row table[] = {
#define VERB(name, about) {1, #name, {0}},
#define KEY(name, kind, fallback, bound, help) {0, NULL, {#name, kind, fallback, bound, help}},
#include "verbs.def"
#undef VERB
#undef KEY
};
enum { TABLE_ROWS = sizeof table / sizeof *table };

/* The bounds a KEY row can state. Returns 1 if x keeps it; NaN never does. */
static int within(const char *bound, double x)
{
    if (*bound == '\0') return 1;
    if (strcmp(bound, "0..1") == 0) return x >= 0 && x < 1;
    if (bound[0] == '>' && bound[1] == '=') return x >= atof(bound + 2);
    return x > atof(bound + 1);
}

/* The words that a key may have, and a text that says so. */
typedef struct choices {
    char alternatives[80]; /* of the bound, each a string of its own */
    char expected[160];
    const char *name[MAX_CHOICES];
    int count;
} choices;

static void add_choice(choices *c, const char *name)
{
    for (int i = 0; i < c->count; i++)
        if (strcmp(c->name[i], name) == 0) return;
    if (c->count < MAX_CHOICES) c->name[c->count++] = name;
}

static void read_choices(const key_row *k, choices *c)
{
    char *rest = NULL;
    size_t used = 0;
    c->count = 0;
    snprintf(c->alternatives, sizeof c->alternatives, "%s", k->bound);
    for (char *one = strtok_r(c->alternatives, "|", &rest); one; one = strtok_r(NULL, "|", &rest)) {
        const char *list = strncmp(one, "of ", 3) == 0 ? one + 3 : NULL, *name;
        used += (size_t)snprintf(c->expected + used, sizeof c->expected - used,
                                 list ? "%sone of `mosaic list %s`" : "%s%s", used ? " or " : "",
                                 list ? list : one);
        if (!list) add_choice(c, one);
        for (int i = 0; list && (name = list_name(list, i)); i++)
            add_choice(c, name);
    }
}

/* A word of a key that may not have any; methods also have families with a number in the name. */
static status check_choice(const char *verb, const key_row *k, const char *text)
{
    choices c;
    char what[80];
    method m;
    read_choices(k, &c);
    if (*text == '\0' && *k->fallback == '\0') return OK; /* as if not given */
    for (int i = 0; i < c.count; i++)
        if (strcmp(c.name[i], text) == 0) return OK;
    if (strcmp(k->bound, "of methods") == 0) return method_find(text, &m);
    snprintf(what, sizeof what, "%s: %s", verb, k->name);
    return fail_unknown(what, text, c.name, (size_t)c.count, c.expected);
}

static int is_number(key_kind k)
{
    return k == INT || k == INTS || k == REAL || k == REALS || k == FLAG;
}

/* Append one item. */
static status push(const char *verb, word *w, const char *text)
{
    item it = {0};
    const key_row *k = w->key;
    if (w->count == MAX_ITEMS)
        return fail(ERR_ARG, "%s: %s: expected at most %d items", verb, k->name, (int)MAX_ITEMS);
    if (is_number(k->kind)) {
        int real = k->kind == REAL || k->kind == REALS;
        int good = real ? parse_real(text, &it.number) : parse_integer(text, &it.integer);
        if (!real) it.number = (double)it.integer;
        if (good && k->kind == FLAG) good = it.integer == 0 || it.integer == 1;
        if (!good)
            return fail(ERR_ARG, "%s: %s=%s: expected %s", verb, k->name, text,
                        k->kind == FLAG ? "0 or 1"
                        : real          ? "a number"
                                        : "an integer");
        if (!within(k->bound, it.number)) {
            const char *range = strcmp(k->bound, "0..1") == 0 ? "at least 0 and below 1" : k->bound;
            return fail(ERR_ARG, "%s: %s=%s: expected a value %s", verb, k->name, text, range);
        }
    } else if (*k->bound) {
        TRY(check_choice(verb, k, text));
    }
    if (w->count % 16 == 0) {
        item *more = realloc(w->items, (size_t)(w->count + 16) * sizeof *more);
        if (!more) return fail(ERR_MEMORY, "%s: %s: out of memory", verb, k->name);
        w->items = more;
    }
    it.text = strdup(text);
    if (!it.text) return fail(ERR_MEMORY, "%s: %s: out of memory", verb, k->name);
    w->items[w->count++] = it;
    return OK;
}

/* a..b, a..b:xF, a..b:+S */
static status push_range(const char *verb, word *w, const char *text, const char *dots)
{
    char from[64], buffer[64];
    double a, b, step = 1;
    int factor = 0;
    const char *colon = strchr(dots, ':');
    size_t tail = colon ? (size_t)(colon - dots - 2) : strlen(dots + 2);
    if ((size_t)(dots - text) >= sizeof from || tail >= sizeof buffer) goto malformed;
    snprintf(from, sizeof from, "%.*s", (int)(dots - text), text);
    snprintf(buffer, sizeof buffer, "%.*s", (int)tail, dots + 2);
    if (!parse_real(from, &a) || !parse_real(buffer, &b)) goto malformed;
    if (colon) {
        factor = colon[1] == 'x';
        if ((!factor && colon[1] != '+') || !parse_real(colon + 2, &step)) goto malformed;
    }
    if (!(b >= a) || (factor ? !(step > 1) || !(a > 0) : !(step > 0))) goto malformed;
    for (int64_t i = 0;; i++) {
        double x = factor ? a * pow(step, (double)i) : a + step * (double)i;
        if (x > b * (1 + 1e-12) + (b == 0 ? 1e-12 : 0)) return OK;
        snprintf(buffer, sizeof buffer, "%.15g", x);
        TRY(push(verb, w, buffer));
    }
malformed:
    return fail(ERR_ARG,
                "%s: %s=%s: expected a range a..b, a..b:xF (F > 1) or a..b:+S (S > 0) with a <= b",
                verb, w->key->name, text);
}

/* The files a pattern matches, in sorted order; none is an error. */
static status push_pattern(const char *verb, word *w, const char *text)
{
    glob_t found;
    status s = OK;
    switch (glob(text, 0, NULL, &found)) {
    case 0:
        break;
    case GLOB_NOSPACE:
        s = fail(ERR_MEMORY, "%s: %s: out of memory", verb, w->key->name);
        break;
    default:
        s = fail(ERR_ARG, "%s: %s=%s: expected a pattern that matches a file", verb, w->key->name,
                 text);
    }
    for (size_t i = 0; s == OK && i < found.gl_pathc; i++)
        s = push(verb, w, found.gl_pathv[i]);
    globfree(&found);
    return s;
}

/* `all` of a key whose words are known. */
static status push_all(const char *verb, word *w)
{
    choices c;
    read_choices(w->key, &c);
    for (int i = 0; i < c.count; i++)
        TRY(push(verb, w, c.name[i]));
    return OK;
}

static int is_list(key_kind k)
{
    return k == TEXTS || k == FILES || k == INTS || k == REALS;
}

static status push_list(const char *verb, word *w, const char *text)
{
    int files = w->key->kind == FILES;
    if (!is_list(w->key->kind) || (files && access(text, F_OK) == 0)) return push(verb, w, text);
    for (const char *at = text;;) {
        const char *comma = strchr(at, ',');
        size_t length = comma ? (size_t)(comma - at) : strlen(at);
        if (length == 0)
            return fail(ERR_ARG, "%s: %s=%s: expected items between the commas", verb, w->key->name,
                        text);
        char *piece = strndup(at, length);
        if (!piece) return fail(ERR_MEMORY, "%s: %s: out of memory", verb, w->key->name);
        const char *dots = is_number(w->key->kind) ? strstr(piece, "..") : NULL;
        int pattern = files && strpbrk(piece, "*?[") && access(piece, F_OK) != 0;
        int all = w->key->kind == TEXTS && *w->key->bound && strcmp(piece, "all") == 0;
        status s = dots      ? push_range(verb, w, piece, dots)
                   : pattern ? push_pattern(verb, w, piece)
                   : all     ? push_all(verb, w)
                             : push(verb, w, piece);
        free(piece);
        if (s != OK || !comma) return s;
        at = comma + 1;
    }
}

static word *find_word(const words *w, const char *name)
{
    for (int i = 0; i < w->count; i++)
        if (strcmp(w->word[i].key->name, name) == 0) return &w->word[i];
    return NULL;
}

/* The entry of a key; NULL after fail() if the verb has none of this name. */
static word *find_key(const words *w, const char *name)
{
    const char *names[TABLE_ROWS];
    char what[64];
    word *entry = find_word(w, name);
    if (entry) return entry;
    for (int i = 0; i < w->count; i++)
        names[i] = w->word[i].key->name;
    snprintf(what, sizeof what, "%s: unknown key", w->verb);
    fail_unknown(what, name, names, (size_t)w->count, "a key of --help");
    return NULL;
}

/* The entry of a bare word: the list before it, `file` if it looks like one, or `ids`. */
static word *find_bare(const words *w, const char *text, word *last)
{
    word *file = find_word(w, "file"), *ids = find_word(w, "ids");
    if (last && (last->key->kind == TEXTS || last->key->kind == FILES)) return last;
    word *entry = file && (!ids || strpbrk(text, "/.") || file_exists(text)) ? file : ids;
    if (!entry)
        fail(ERR_ARG, "%s: \"%s\": expected key=value (see `mosaic %s --help`)", w->verb, text,
             w->verb);
    return entry;
}

/* Is a word with '=' a path? `run` makes such names: what is there, or cannot be a key. */
static int is_path(const words *w, const char *text, const char *name)
{
    return !find_word(w, name) && (strpbrk(name, "/,.") || file_exists(text));
}

/* One argument: key=value, or a bare word. */
static status take_argument(words *w, const char *text, word **last)
{
    const char *equals = strchr(text, '=');
    char name[PATH_MAX];
    snprintf(name, sizeof name, "%.*s", equals ? (int)(equals - text) : 0, text);
    if (equals && is_path(w, text, name)) equals = NULL;
    const char *value = equals ? equals + 1 : text;
    word *entry = equals ? find_key(w, name) : find_bare(w, text, *last);
    if (!entry) return ERR_ARG;
    if (entry->given && (equals || !is_list(entry->key->kind)))
        return fail(ERR_ARG, "%s: %s is given twice", w->verb, entry->key->name);
    *last = entry;
    entry->given = 1;
    size_t old = entry->source ? strlen(entry->source) + 1 : 0;
    char *source = realloc(entry->source, old + strlen(value) + 1);
    if (!source) return fail(ERR_MEMORY, "%s: out of memory", w->verb);
    if (old) source[old - 1] = ',';
    strcpy(source + old, value);
    entry->source = source;
    return push_list(w->verb, entry, value);
}

status words_parse(const char *verb, int count, char *const *text, words **out)
{
    int first = 0, rows = 0;
    status s = OK;
    *out = NULL;
    while (first < TABLE_ROWS && !(table[first].is_verb && strcmp(table[first].verb, verb) == 0))
        first++;
    if (first == TABLE_ROWS) return fail(ERR_ARG, "unknown verb \"%s\"", verb);
    for (int i = first + 1; i < TABLE_ROWS && !table[i].is_verb; i++)
        rows++;
    words *w = calloc(1, sizeof *w);
    if (w) w->word = calloc((size_t)rows + 1, sizeof *w->word);
    if (!w || !w->word) {
        words_free(w);
        return fail(ERR_MEMORY, "%s: out of memory", verb);
    }
    w->verb = table[first].verb;
    w->count = rows;
    for (int i = 0; i < rows; i++)
        w->word[i].key = &table[first + 1 + i].key;
    word *last = NULL;
    for (int i = 0; s == OK && i < count; i++)
        s = take_argument(w, text[i], &last);
    for (int i = 0; s == OK && i < rows; i++) {
        word *entry = &w->word[i];
        if (!entry->given && *entry->key->fallback)
            s = push_list(verb, entry, entry->key->fallback);
    }
    if (s == OK)
        *out = w;
    else
        words_free(w);
    return s;
}

void words_free(words *w)
{
    if (!w) return;
    for (int i = 0; w->word && i < w->count; i++) {
        for (int64_t j = 0; j < w->word[i].count; j++)
            free(w->word[i].items[j].text);
        free(w->word[i].items);
        free(w->word[i].source);
    }
    free(w->word);
    free(w);
}

/* Asking for a key that the table does not have is an error of the program. */
static const word *need(const words *w, const char *name)
{
    const word *entry = find_word(w, name);
    if (entry) return entry;
    fprintf(stderr, "mosaic: %s has no key \"%s\" in verbs.def\n", w->verb, name);
    abort();
}

const char *words_verb(const words *w)
{
    return w->verb;
}

const key_row *word_key(const words *w, int i)
{
    return i < w->count ? w->word[i].key : NULL;
}

int word_has(const words *w, const char *name)
{
    return find_word(w, name) != NULL;
}

int word_given(const words *w, const char *name)
{
    return need(w, name)->given;
}

int64_t word_count(const words *w, const char *name)
{
    return need(w, name)->count;
}

const char *word_text_at(const words *w, const char *name, int64_t i)
{
    const word *entry = need(w, name);
    return i < entry->count ? entry->items[i].text : "";
}

int word_chooses(const words *w, const char *name, const char *text)
{
    for (int64_t i = 0; i < word_count(w, name); i++)
        if (strcmp(word_text_at(w, name, i), text) == 0) return 1;
    return 0;
}

int64_t word_int_at(const words *w, const char *name, int64_t i)
{
    const word *entry = need(w, name);
    return i < entry->count ? entry->items[i].integer : 0;
}

double word_real_at(const words *w, const char *name, int64_t i)
{
    const word *entry = need(w, name);
    return i < entry->count ? entry->items[i].number : NAN;
}

const char *word_text(const words *w, const char *name)
{
    return word_text_at(w, name, 0);
}

int64_t word_int(const words *w, const char *name)
{
    return word_int_at(w, name, 0);
}

double word_real(const words *w, const char *name)
{
    return word_real_at(w, name, 0);
}

int word_is_default(const words *w, const char *name)
{
    const word *entry = need(w, name);
    const char *fallback = entry->key->fallback;
    double number;
    if (!entry->given || (entry->count == 0 && *fallback == '\0')) return 1;
    if (entry->count != 1) return 0;
    if (is_number(entry->key->kind))
        return parse_real(fallback, &number) && number == entry->items[0].number;
    return strcmp(fallback, entry->items[0].text) == 0;
}

/* The i-th row of a verb; NULL past the end. */
static const key_row *verb_key(const char *verb, int i)
{
    int at = 0;
    while (at < TABLE_ROWS && !(table[at].is_verb && strcmp(table[at].verb, verb) == 0))
        at++;
    for (at++; at < TABLE_ROWS && !table[at].is_verb; at++)
        if (i-- == 0) return &table[at].key;
    return NULL;
}

const char *key_name(const char *verb, int i)
{
    const key_row *k = verb_key(verb, i);
    return k ? k->name : NULL;
}

const char *key_fallback(const char *verb, const char *name)
{
    const key_row *k;
    for (int i = 0; (k = verb_key(verb, i)); i++)
        if (strcmp(k->name, name) == 0) return k->fallback;
    return NULL;
}

void word_value(const words *w, const char *name, char *text, size_t size)
{
    const word *entry = need(w, name);
    const key_kind kind = entry->key->kind;
    size_t used = 0;
    *text = '\0';
    for (int64_t i = 0; i < entry->count && used < size; i++) {
        const item *it = &entry->items[i];
        if (i > 0) used += (size_t)snprintf(text + used, size - used, ",");
        if (used >= size) return;
        used += (size_t)(kind == REAL || kind == REALS
                             ? snprintf(text + used, size - used, "%.17g", it->number)
                         : is_number(kind)
                             ? snprintf(text + used, size - used, "%lld", (long long)it->integer)
                             : snprintf(text + used, size - used, "%s", it->text));
    }
}

/* Is `name` one of the space-separated names? */
static int among(const char *name, const char *list)
{
    size_t length = strlen(name);
    for (const char *at = list; at && (at = strstr(at, name)); at += length)
        if ((at == list || at[-1] == ' ') && (at[length] == ' ' || at[length] == '\0')) return 1;
    return 0;
}

/* " key=value"; what a shell would take apart or read as more than itself stands in quotes. */
static size_t put_word(char *to, const char *name, const char *value)
{
    const int quoted = value[strcspn(value, " \t\r\n\"'\\$`;|&<>()")] != '\0';
    size_t n = (size_t)sprintf(to, " %s=%s", name, quoted ? "'" : "");
    for (; *value; value++)
        n += (size_t)sprintf(to + n, *value == '\'' ? "'\\''" : "%c", *value);
    return n + (size_t)sprintf(to + n, "%s", quoted ? "'" : "");
}

char *words_canonical(const words *w, const char *skip)
{
    size_t room = strlen(w->verb) + 1;
    for (int i = 0; i < w->count; i++)
        if (w->word[i].given)
            room += strlen(w->word[i].key->name) + 4 * strlen(w->word[i].source) + 4;
    char *text = malloc(room);
    if (!text) return NULL;
    size_t at = (size_t)sprintf(text, "%s", w->verb);
    for (int i = 0; i < w->count; i++) {
        const word *entry = &w->word[i];
        if (!entry->given || among(entry->key->name, skip)) continue;
        at += put_word(text + at, entry->key->name, entry->source);
    }
    return text;
}

char *words_key(const words *w)
{
    return words_canonical(w, "out threads checkpoint best from format");
}
