/* SPDX-License-Identifier: MIT
 *
 * line.c — what every line of an experiment needs: the rows it speaks of, their labels, the files
 * it writes.
 */
#include <string.h>
#include <unistd.h>

#include "output.h"
#include "show.h"

status line_source(const show *s, const line *l, const source **rows)
{
    const table of = table_find(line_value(l, "from", ""));
    *rows = of == TABLES ? NULL : &s->of->all.rows[of];
    if (*rows) return OK;
    return fail(ERR_DATA, "%s:%d: from=%s: expected check, time, train, eval, row, stage or sample",
                s->p->path, l->number, line_value(l, "from", ""));
}

status line_pivot(const show *s, const line *l, const char *rows, const char *cols,
                  const char *value_of, const char *keep, pivot *p)
{
    const source *from;
    *p = (pivot){0};
    TRY(line_source(s, l, &from));
    const status made = pivot_make(p, from, keep, rows, cols, value_of);
    if (made != ERR_DATA) return made;
    return fail(made, "%s:%d: %s", s->p->path, l->number, last_error());
}

void line_label(const line *l, const key *k, char *label, size_t size)
{
    key_label(k, strcmp(line_value(l, "labels", ""), "plain") == 0, label, size);
}

status show_write(const show *s, const char *name, const char *extension, const char *text)
{
    char path[4096], file[OUTPUT_PATH], partial[4200];
    if (!text) return fail(ERR_MEMORY, "show: out of memory");
    snprintf(path, sizeof path, "%s/%s.%s", s->out, name, extension);
    TRY(output_file(path, "file", file));
    snprintf(partial, sizeof partial, "%s.tmp.%ld", file, (long)getpid());
    FILE *f = fopen(partial, "w");
    int good = f && fputs(text, f) >= 0 && fflush(f) == 0 && fsync(fileno(f)) == 0;
    if (f && fclose(f) != 0) good = 0;
    if (good) good = rename(partial, file) == 0;
    if (good) return OK;
    unlink(partial);
    return fail(ERR_FILE, "%s: cannot be written: expected room on the disk and a writable folder",
                path);
}
