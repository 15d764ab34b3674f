/* SPDX-License-Identifier: MIT
 *
 * regbench_file.c — regbench_{train|val|test}.txt (spec of the tasks, section 4.3): a line is the
 * canonical form in hex, TAB, the sequence as letters a..r and `|`. Reading checks that every
 * string is accepted by its automaton, so a file that opens can be scored.
 */
#include <stdlib.h>
#include <string.h>

#include "bytes.h"
#include "regbench.h"

static int hex(char c)
{
    return c >= '0' && c <= '9' ? c - '0' : c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

static const char *parse_form(const char *text, size_t length, automaton *a)
{
    uint8_t form[FORM_MOST];
    if (length % 2 != 0 || length / 2 > FORM_MOST)
        return "an even number of hex digits, at most 170";
    for (size_t i = 0; i < length / 2; i++) {
        int high = hex(text[2 * i]), low = hex(text[2 * i + 1]);
        if (high < 0 || low < 0) return "hex digits 0..9, a..f before the TAB";
        form[i] = (uint8_t)(16 * high + low);
    }
    return automaton_parse(form, length / 2, a);
}

const char *regbench_parse(const char *line, size_t length, automaton *a, int32_t *ids,
                           int64_t room, int64_t *count)
{
    const char *tab = memchr(line, '\t', length), *end = line + length;
    *count = 0;
    if (!tab) return "a canonical form, TAB, a sequence";
    const char *wrong = parse_form(line, (size_t)(tab - line), a);
    if (wrong) return wrong;
    int state = 0, within = 0; /* letters of the present string */
    for (const char *p = tab + 1; p < end; p++) {
        int32_t id = *p == '|' ? BAR : *p - 'a' + 1;
        if (id == BAR) {
            if (within == 0) return "letters on both sides of every |";
            state = within = 0;
        } else {
            if (id < 1 || id > LETTERS) return "letters a..r and | after the TAB";
            state = automaton_step(a, state, id - 1);
            if (state < 0) return "strings that the automaton accepts";
            within++;
        }
        if (*count < room) ids[*count] = id;
        ++*count;
    }
    if (within == 0) return "a letter at the end of the sequence";
    return *count < 2 ? "a sequence of at least two symbols" : NULL;
}

static const char *file_stem(int split)
{
    return split == SPLIT_TRAIN ? "train" : split == SPLIT_TEST ? "test" : "val";
}

status regbench_read(dataset *d, regbench_state *q)
{
    char path[PATH_ROOM];
    int n = folder_exists(d->options.data) ? snprintf(path, sizeof path, "%s/regbench_%s.txt",
                                                      d->options.data, file_stem(d->options.split))
                                           : snprintf(path, sizeof path, "%s", d->options.data);
    if (n >= (int)sizeof path)
        return fail(ERR_FILE, "%.60s...: the path is too long", d->options.data);
    TRY(lines_open(path, &q->text));
    q->read = 1;
    d->samples = q->text.count;
    if (d->options.samples > 0 && d->options.samples < d->samples) d->samples = d->options.samples;
    d->hash = fnv1a(FNV_OFFSET, q->text.text, q->text.bytes);
    for (int64_t i = 0; i < d->samples; i++) {
        automaton a;
        int64_t count;
        TRY(regbench_get(d, i, &a, NULL, 0, &count));
        if (count - 1 > d->longest) d->longest = count - 1;
    }
    return OK;
}

static void put_sequence(FILE *f, const automaton *minimal, const int32_t *ids, int64_t count)
{
    uint8_t form[FORM_MOST];
    int size = automaton_form(minimal, form);
    for (int i = 0; i < size; i++)
        fprintf(f, "%02x", form[i]);
    fputc('\t', f);
    for (int64_t i = 0; i < count; i++)
        fputc(ids[i] == BAR ? '|' : 'a' + ids[i] - 1, f);
    fputc('\n', f);
}

static status write_sequences(const dataset *d, text_file *file)
{
    /* A file that is copied may hold longer sequences than any that is drawn. */
    int64_t room = d->longest + 1 > REGBENCH_LONGEST ? d->longest + 1 : REGBENCH_LONGEST, count;
    int32_t *ids = malloc((size_t)room * sizeof *ids);
    status s = ids ? OK : fail(ERR_MEMORY, "regbench: write: out of memory");
    for (int64_t i = 0; s == OK && i < d->samples; i++) {
        automaton a, minimal;
        s = regbench_get(d, i, &a, ids, room, &count);
        if (s != OK) break;
        automaton_minimize(&a, &minimal);
        put_sequence(file->f, &minimal, ids, count);
        if (ferror(file->f)) s = fail(ERR_FILE, "%s: cannot be written", file->path);
    }
    free(ids);
    return s;
}

status regbench_write(const struct task *t, const data_options *o, const char *out)
{
    data_options whole = *o;
    whole.window = 0;
    text_file file = {.f = NULL};
    char path[PATH_ROOM];
    dataset *d = NULL;
    status s = t->open(t, &whole, &d);
    if (s == OK) s = folder_make(out);
    if (s == OK && snprintf(path, sizeof path, "%s/regbench_%s.txt", out, file_stem(o->split)) >=
                       (int)sizeof path)
        s = fail(ERR_FILE, "%.60s...: the path is too long", out);
    if (s == OK) s = text_create(path, &file);
    if (s == OK) s = write_sequences(d, &file);
    if (s == OK) s = text_finish(&file);
    if (s == OK) s = text_commit(&file);
    text_abandon(&file);
    dataset_close(d);
    return s;
}
