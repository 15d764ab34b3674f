/* SPDX-License-Identifier: MIT
 *
 * evidence.c — see evidence.h.
 */
#include "evidence.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

/* FOLDER/NAME; NULL without memory. */
static char *path_in(const char *folder, const char *name)
{
    char *path = malloc(strlen(folder) + strlen(name) + 2);
    if (path) sprintf(path, "%s/%s", folder, name);
    return path;
}

static status list_files(evidence *v, const experiment *e, const cells *all, const char *root,
                         const char *folder)
{
    int room = e->count;
    for (int i = 0; i < all->count; i++)
        room += all->cell[i].of == e;
    v->path = calloc((size_t)room + 1, sizeof *v->path);
    if (!v->path) return fail(ERR_MEMORY, "show: out of memory");
    for (int i = 0; i < all->count; i++)
        if (all->cell[i].of == e) v->path[v->files++] = strdup(all->cell[i].result);
    for (int i = 0; i < e->count; i++) {
        if (e->lines[i].kind != LINE_DATA) continue;
        const char *name = e->lines[i].word[0];
        const int of_results = strncmp(name, "@/", 2) == 0;
        v->path[v->files++] = of_results ? path_in(folder, name + 2) : path_in(root, name);
    }
    for (int i = 0; i < v->files; i++)
        if (!v->path[i]) return fail(ERR_MEMORY, "show: out of memory");
    return OK;
}

static status read_origin(origin *o, const stored *f, int64_t i, const char *path)
{
    o->path = path;
    o->copy = stored_origin_number(f, i, "copy_cuda");
    TRY(stored_origin_text(f, i, "commit", o->commit, sizeof o->commit));
    TRY(stored_origin_text(f, i, "created", o->created, sizeof o->created));
    TRY(stored_origin_text(f, i, "sources", o->sources, sizeof o->sources));
    TRY(stored_origin_text(f, i, "compiler", o->compiler, sizeof o->compiler));
    TRY(stored_origin_text(f, i, "cpu", o->cpu, sizeof o->cpu));
    TRY(stored_origin_text(f, i, "device", o->device, sizeof o->device));
    return stored_origin_text(f, i, "device_driver", o->driver, sizeof o->driver);
}

/* The rows of a table, each with its origin; first: the number of the first origin of the file. */
static status append_rows(evidence *v, source *s, const stored *f, int first, int64_t origins)
{
    const size_t size = table_row_size(s->of);
    void *rows;
    int64_t count, at = 0;
    TRY(stored_rows(f, s->of, &rows, &count));
    char *more = realloc(s->rows, (size_t)(s->count + count + 1) * size);
    if (more) s->rows = more;
    int *from =
        more ? realloc(v->from[s->of], (size_t)(s->count + count + 1) * sizeof *from) : NULL;
    if (from) {
        v->from[s->of] = from;
        if (count > 0) memcpy(more + (size_t)s->count * size, rows, (size_t)count * size);
        for (int64_t i = 0; i < origins; i++)
            for (int64_t n = stored_origin_rows(f, i, s->of, count); n > 0 && at < count; n--)
                from[s->count + at++] = first + (int)i;
        s->count += count;
    }
    free(rows);
    if (!from) return fail(ERR_MEMORY, "show: out of memory");
    return at == count ? OK : fail(ERR_DATA, "%s: /sources is damaged", v->origin[first].path);
}

static status read_file(evidence *v, const char *path, const int *wanted)
{
    stored *f;
    int64_t origins = 0;
    TRY(stored_open(path, &f));
    v->unfinished += !stored_finished(f);
    const int first = v->origins;
    status s = stored_origins(f, &origins);
    origin *more =
        s == OK ? realloc(v->origin, (size_t)(first + origins + 1) * sizeof *more) : NULL;
    if (s == OK && !more) s = fail(ERR_MEMORY, "show: out of memory");
    if (more) v->origin = more;
    for (int64_t i = 0; s == OK && i < origins; i++)
        s = read_origin(&v->origin[v->origins++], f, i, path);
    for (int t = 0; s == OK && t < TABLES; t++)
        if (wanted[t]) s = append_rows(v, &v->rows[t], f, first, origins);
    v->found += s == OK;
    stored_close(f);
    return s;
}

status evidence_read(evidence *v, const experiment *e, const cells *all, const char *root,
                     const char *folder)
{
    int wanted[TABLES + 1] = {0};
    *v = (evidence){0};
    for (int t = 0; t < TABLES; t++)
        v->rows[t].of = (table)t;
    for (int i = 0; i < e->count; i++)
        wanted[table_find(line_value(&e->lines[i], "from", ""))] = 1;
    status s = list_files(v, e, all, root, folder);
    for (int i = 0; s == OK && i < v->files; i++)
        if (access(v->path[i], R_OK) == 0) s = read_file(v, v->path[i], wanted);
    for (int t = 0; t < TABLES; t++) {
        v->rows[t].from = v->from[t];
        v->rows[t].origin = v->origin;
    }
    return s;
}

void evidence_free(evidence *v)
{
    for (int i = 0; i < v->files; i++)
        free(v->path[i]);
    for (int t = 0; t < TABLES; t++)
        free(v->rows[t].rows);
    for (int t = 0; t < TABLES; t++)
        free(v->from[t]);
    free(v->path);
    free(v->origin);
    *v = (evidence){0};
}
