/* SPDX-License-Identifier: MIT
 *
 * sequence_file.c — readers and writers of line files (spec of the tasks, section 1).
 *
 * NAME.src and NAME.trg: line i of both is sample i, decimal ids parted by one space, LF at the
 * end. NAME.src.idx, NAME.trg.idx: uint64 little-endian, entry i the byte where line i starts. An
 * index is believed if its size is a multiple of 8, entry 0 is 0, entries increase and lie in the
 * file, and an LF stands before each; anything else is rebuilt in memory.
 */
#include "sequence_file.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "output.h"
#include "task.h"

/* --- lines ---------------------------------------------------------------------------------- */

static status map_file(const char *path, void **at, size_t *bytes)
{
    struct stat st;
    *at = NULL;
    *bytes = 0;
    /* before it is opened: a pipe would wait for a writer */
    if (stat(path, &st) == 0 && S_ISFIFO(st.st_mode))
        return fail(ERR_FILE, "%s: expected a regular file", path);
    int f = open(path, O_RDONLY);
    if (f < 0) return fail(ERR_FILE, "%s: %s", path, strerror(errno));
    status s = OK;
    if (fstat(f, &st) != 0 || !S_ISREG(st.st_mode)) {
        s = fail(ERR_FILE, "%s: expected a regular file", path);
    } else if (st.st_size > 0) {
        void *p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, f, 0);
        if (p == MAP_FAILED)
            s = fail(ERR_FILE, "%s: cannot map: %s", path, strerror(errno));
        else
            *at = p;
        *bytes = *at ? (size_t)st.st_size : 0;
    }
    close(f);
    return s;
}

static int index_is_sound(const char *text, size_t bytes, const uint64_t *index, size_t index_bytes)
{
    if (index_bytes == 0 || index_bytes % 8 != 0 || index[0] != 0) return 0;
    for (size_t i = 1; i < index_bytes / 8; i++)
        if (index[i] <= index[i - 1] || index[i] >= bytes || text[index[i] - 1] != '\n') return 0;
    return 1;
}

static status find_lines(lines *l)
{
    const char *end = l->text + l->bytes;
    int64_t count = 0;
    for (const char *p = l->text; p < end; p++, count++)
        p = memchr(p, '\n', (size_t)(end - p));
    l->built = malloc((size_t)count * sizeof *l->built);
    if (!l->built) return fail(ERR_MEMORY, "%s: out of memory for its index", l->path);
    int64_t i = 0;
    for (const char *p = l->text; p < end; p++) {
        l->built[i++] = (uint64_t)(p - l->text);
        p = memchr(p, '\n', (size_t)(end - p));
    }
    l->start = l->built;
    l->count = count;
    return OK;
}

status lines_from(const char *path, const char *text, size_t bytes, const void *index,
                  size_t index_bytes, lines *l)
{
    *l = (lines){.text = text, .bytes = bytes};
    snprintf(l->path, sizeof l->path, "%s", path);
    if (bytes == 0) return fail(ERR_DATA, "%s: line 1: the file is empty", path);
    if (text[bytes - 1] != '\n') {
        int64_t line = 1;
        for (size_t i = 0; i < bytes; i++)
            line += text[i] == '\n';
        return fail(ERR_DATA, "%s: line %lld: expected a line end: the file was cut", path,
                    (long long)line);
    }
    if (index && index_is_sound(text, bytes, index, index_bytes)) {
        l->start = index;
        l->count = (int64_t)(index_bytes / 8);
        return OK;
    }
    return find_lines(l);
}

status lines_open(const char *path, lines *l)
{
    char index_path[PATH_ROOM + 8];
    void *text, *index = NULL;
    size_t bytes, index_bytes = 0;
    *l = (lines){0};
    TRY(map_file(path, &text, &bytes));
    snprintf(index_path, sizeof index_path, "%s.idx", path);
    if (access(index_path, R_OK) == 0) map_file(index_path, &index, &index_bytes);
    status s = lines_from(path, text, bytes, index, index_bytes, l);
    l->mapped = text;
    l->mapped_index = index;
    l->index_bytes = index_bytes;
    if (s != OK) lines_close(l);
    return s;
}

void lines_close(lines *l)
{
    if (l->mapped) munmap(l->mapped, l->bytes);
    if (l->mapped_index) munmap(l->mapped_index, l->index_bytes);
    free(l->built);
    *l = (lines){0};
}

const char *lines_get(const lines *l, int64_t i, size_t *length)
{
    const char *begin = l->text + l->start[i];
    const char *end = memchr(begin, '\n', l->bytes - l->start[i]);
    while (end > begin && (end[-1] == ' ' || end[-1] == '\r' || end[-1] == '\t'))
        end--;
    *length = (size_t)(end - begin);
    return begin;
}

const char *id_read(const char *text, const char *end, int32_t limit, int32_t *id)
{
    const char *p = text;
    for (*id = 0; p < end && *p >= '0' && *p <= '9' && *id < limit; p++)
        *id = 10 * *id + (*p - '0');
    if (p == text || *id >= limit || (p < end && *p != ' ')) return NULL;
    return p < end ? p + 1 : end;
}

status lines_ids(const lines *l, int64_t i, int32_t limit, int32_t *ids, int64_t room,
                 int64_t *count)
{
    size_t length;
    const char *p = lines_get(l, i, &length), *end = p + length;
    *count = 0;
    while (p < end) {
        int32_t id;
        const char *next = id_read(p, end, limit, &id);
        if (!next)
            return fail(ERR_DATA, "%s: line %lld: item %lld: expected an id 0..%d, got \"%.*s\"",
                        l->path, (long long)i + 1, (long long)*count + 1, limit - 1,
                        (int)(end - p < 12 ? end - p : 12), p);
        if (*count < room) ids[*count] = id;
        ++*count;
        p = next;
    }
    return OK;
}

/* --- shards --------------------------------------------------------------------------------- */

void shard_stem(int split, int64_t length, char stem[64])
{
    if (split == SPLIT_TRAIN)
        snprintf(stem, 64, "train");
    else
        snprintf(stem, 64, "%s_%d_%lld", split_name(split), split & 0xff, (long long)length);
}

/* Reads "test_3_512.src" into number and length; 0 if the name is of another kind. */
static int shard_name(const char *name, int split, shard *s)
{
    char expected[80];
    long long length = 0;
    *s = (shard){0};
    if (split == SPLIT_TRAIN) {
        strcpy(s->stem, "train");
    } else {
        size_t kind = strlen(split_name(split));
        if (strncmp(name, split_name(split), kind) != 0) return 0;
        if (sscanf(name + kind, "_%3d_%15lld.src", &s->number, &length) != 2) return 0;
        s->length = length;
        snprintf(s->stem, sizeof s->stem, "%s_%d_%lld", split_name(split), s->number, length);
    }
    snprintf(expected, sizeof expected, "%s.src", s->stem);
    return strcmp(name, expected) == 0;
}

static int by_shard_number(const void *a, const void *b)
{
    const shard *x = a, *y = b;
    if (x->number != y->number) return x->number < y->number ? -1 : 1;
    return (x->length > y->length) - (x->length < y->length);
}

status shards_find(const char *folder, int split, shard **list, int *count)
{
    *list = NULL;
    *count = 0;
    DIR *dir = opendir(folder);
    if (!dir) return fail(ERR_FILE, "%s: %s", folder, strerror(errno));
    status s = OK;
    int room = 0;
    for (struct dirent *e; s == OK && (e = readdir(dir));) {
        shard one;
        char target[PATH_ROOM + 80];
        if (!shard_name(e->d_name, split, &one)) continue;
        snprintf(target, sizeof target, "%s/%s.trg", folder, one.stem);
        if (access(target, F_OK) != 0) {
            s = fail(ERR_FILE, "%s: missing beside %s.src", target, one.stem);
            break;
        }
        if (*count == room) {
            room = room ? 2 * room : 16;
            shard *more = realloc(*list, (size_t)room * sizeof **list);
            if (!more) {
                s = fail(ERR_MEMORY, "%s: out of memory", folder);
                break;
            }
            *list = more;
        }
        (*list)[(*count)++] = one;
    }
    closedir(dir);
    if (s == OK && *count == 0)
        s = fail(ERR_FILE, "%s: expected %s%s.src", folder, split_name(split),
                 split == SPLIT_TRAIN ? "" : "_{i}_{L}");
    if (s != OK) {
        free(*list);
        *list = NULL;
        return s;
    }
    qsort(*list, (size_t)*count, sizeof **list, by_shard_number);
    return OK;
}

/* -1 if there is none. */
static int nearest_shard(const shard *list, int count, int split, int64_t length)
{
    int best = -1;
    if (split == SPLIT_TRAIN) return 0;
    for (int i = 0; i < count; i++) {
        int same_number = list[i].number == (split & 0xff);
        if (length == 0 ? same_number : list[i].length == length)
            if (best < 0 || same_number) best = i;
    }
    return best;
}

static status choose_in(const char *folder, int split, int64_t length, char path[PATH_ROOM])
{
    shard *list;
    int count;
    TRY(shards_find(folder, split, &list, &count));
    int i = nearest_shard(list, count, split, length);
    status s = OK;
    if (i >= 0) {
        if (snprintf(path, PATH_ROOM, "%s/%s", folder, list[i].stem) >= PATH_ROOM)
            s = fail(ERR_FILE, "%s: the path is too long", folder);
    } else {
        char found[160] = "";
        for (int j = 0; j < count && strlen(found) < sizeof found - 24; j++)
            snprintf(found + strlen(found), sizeof found - strlen(found), " %lld",
                     (long long)list[j].length);
        if (length > 0)
            s = fail(ERR_FILE, "%s: no %s shard of length %lld: found lengths%s", folder,
                     split_name(split), (long long)length, found);
        else
            s = fail(ERR_FILE, "%s: no %s shard number %d: found lengths%s", folder,
                     split_name(split), split & 0xff, found);
    }
    free(list);
    return s;
}

status shard_path(const char *data, int split, int64_t length, char path[PATH_ROOM])
{
    struct stat st;
    char source[PATH_ROOM + 8];
    if (stat(data, &st) == 0 && S_ISDIR(st.st_mode)) return choose_in(data, split, length, path);
    size_t n = strlen(data);
    if (n > 4 && (strcmp(data + n - 4, ".src") == 0 || strcmp(data + n - 4, ".trg") == 0)) n -= 4;
    if (n >= PATH_ROOM - 8) return fail(ERR_FILE, "%.60s...: the path is too long", data);
    snprintf(path, PATH_ROOM, "%.*s", (int)n, data);
    snprintf(source, sizeof source, "%s.src", path);
    if (access(source, F_OK) != 0)
        return fail(ERR_FILE, "%s: expected a folder, or a .src file and its .trg", data);
    return OK;
}

/* --- writing -------------------------------------------------------------------------------- */

/* The files a signal finds under way; a task writes fewer at a time. */
enum { UNDER_WAY = 8 };
static text_file *volatile under_way[UNDER_WAY];

static void swap_slot(text_file *from, text_file *to)
{
    int i = 0;
    while (i < UNDER_WAY && under_way[i] != from)
        i++;
    if (i < UNDER_WAY) under_way[i] = to;
}

void text_remove_all(void)
{
    for (int i = 0; i < UNDER_WAY; i++)
        if (under_way[i]) unlink(under_way[i]->temporary);
}

status text_create(const char *path, text_file *t)
{
    char file[OUTPUT_PATH];
    *t = (text_file){0};
    TRY(output_file(path, "file", file));
    if (snprintf(t->path, sizeof t->path, "%s", file) >= (int)sizeof t->path)
        return fail(ERR_FILE, "%.60s...: the path is too long", path);
    snprintf(t->temporary, sizeof t->temporary, "%s.tmp.%ld", t->path, (long)getpid());
    swap_slot(NULL, t);
    t->f = fopen(t->temporary, "wb");
    if (!t->f) return fail(ERR_FILE, "%s: cannot be written: %s", t->path, strerror(errno));
    return OK;
}

status text_finish(text_file *t)
{
    int bad = fflush(t->f) != 0 || ferror(t->f) || fsync(fileno(t->f)) != 0;
    int reason = errno;
    bad |= fclose(t->f) != 0;
    t->f = NULL;
    t->ready = 1;
    if (bad) return fail(ERR_FILE, "%s: cannot be written: %s", t->path, strerror(reason));
    return OK;
}

status text_commit(text_file *t)
{
    if (rename(t->temporary, t->path) != 0)
        return fail(ERR_FILE, "%s: cannot be renamed into place: %s", t->path, strerror(errno));
    t->ready = 0;
    return OK;
}

void text_abandon(text_file *t)
{
    if (t->f) fclose(t->f);
    if (t->f || t->ready) unlink(t->temporary);
    swap_slot(t, NULL);
    *t = (text_file){0};
}
