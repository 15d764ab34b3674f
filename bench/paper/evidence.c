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

status evidence_read(evidence *v, const experiment *e, const cells *all, const char *root,
                     const char *folder)
{
    int wanted[TABLES + 1] = {0};
    *v = (evidence){0};
    sources_start(&v->all);
    for (int i = 0; i < e->count; i++)
        if (wanted[table_find(line_value(&e->lines[i], "from", ""))] != SAMPLES_TOO)
            wanted[table_find(line_value(&e->lines[i], "from", ""))] =
                e->lines[i].kind == LINE_COMPARED ? SAMPLES_TOO : ROWS_ONLY;
    status s = list_files(v, e, all, root, folder);
    for (int i = 0; s == OK && i < v->files; i++) {
        if (access(v->path[i], R_OK) != 0) continue;
        s = sources_read(&v->all, v->path[i], wanted);
        v->found += s == OK;
    }
    return s;
}

void evidence_free(evidence *v)
{
    for (int i = 0; i < v->files; i++)
        free(v->path[i]);
    free(v->path);
    sources_free(&v->all);
    *v = (evidence){0};
}
