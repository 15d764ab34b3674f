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
    v->origin = calloc((size_t)room + 1, sizeof *v->origin);
    if (!v->path || !v->origin) return fail(ERR_MEMORY, "show: out of memory");
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

static status read_origin(origin *o, const stored *f)
{
    o->copy = stored_number(f, "copy_cuda");
    TRY(stored_text(f, "commit", o->commit, sizeof o->commit));
    TRY(stored_text(f, "created", o->created, sizeof o->created));
    TRY(stored_text(f, "compiler", o->compiler, sizeof o->compiler));
    TRY(stored_text(f, "cpu", o->cpu, sizeof o->cpu));
    TRY(stored_text(f, "device", o->device, sizeof o->device));
    return stored_text(f, "device_driver", o->driver, sizeof o->driver);
}

static status append_rows(source *s, const stored *f)
{
    const size_t size = table_row_size(s->of);
    void *rows;
    int64_t count;
    TRY(stored_rows(f, s->of, &rows, &count));
    char *more = realloc(s->rows, (size_t)(s->count + count + 1) * size);
    if (more) {
        s->rows = more;
        if (count > 0) memcpy(more + (size_t)s->count * size, rows, (size_t)count * size);
        s->count += count;
    }
    free(rows);
    return more ? OK : fail(ERR_MEMORY, "show: out of memory");
}

static status read_file(evidence *v, const char *path, const int *wanted)
{
    stored *f;
    TRY(stored_open(path, &f));
    origin *o = &v->origin[v->found++];
    o->path = path;
    v->unfinished += !stored_finished(f);
    status s = read_origin(o, f);
    for (int t = 0; s == OK && t < TABLES; t++)
        if (wanted[t]) s = append_rows(&v->rows[t], f);
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
    return s;
}

void evidence_free(evidence *v)
{
    for (int i = 0; i < v->files; i++)
        free(v->path[i]);
    for (int t = 0; t < TABLES; t++)
        free(v->rows[t].rows);
    free(v->path);
    free(v->origin);
    *v = (evidence){0};
}
