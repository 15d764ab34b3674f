/* SPDX-License-Identifier: MIT
 *
 * sequence_file.h — text files of one sample a line, and the names of shards.
 */
#ifndef MOSAIC_SEQUENCE_FILE_H
#define MOSAIC_SEQUENCE_FILE_H

#include <stdio.h>

#include "spec.h"

#ifdef __cplusplus
extern "C" {
#endif

enum { PATH_ROOM = 4096 };

/* A text file in memory and where its lines start. */
typedef struct lines {
    char path[PATH_ROOM];
    const char *text;
    size_t bytes;
    const uint64_t *start; /* [count] byte offsets */
    int64_t count;
    uint64_t *built; /* start, if made here           */
    void *mapped, *mapped_index;
    size_t index_bytes;
} lines;

/* Map PATH; take PATH.idx (raw uint64 offsets) if it is sound, else find the lines. ERR_FILE, or
 * ERR_DATA naming file and line if the file is empty or its last line has no end. */
status lines_open(const char *path, lines *l);
/* The same from memory that outlives l; `index` (may be NULL) as in a .idx file. */
status lines_from(const char *path, const char *text, size_t bytes, const void *index,
                  size_t index_bytes, lines *l);
void lines_close(lines *l); /* an all-zero l is fine */
/* Text of line i without its end, trailing blanks and CR. */
const char *lines_get(const lines *l, int64_t i, size_t *length);
/* One decimal id below `limit`, which a blank or the end of the text must follow: where the next
 * one begins; NULL if there is none. */
const char *id_read(const char *text, const char *end, int32_t limit, int32_t *id);
/* The decimal ids of line i, each below `limit`: at most `room` are stored (ids may be NULL if room
 * is 0), *count is how many there are. ERR_DATA names file and line. */
status lines_ids(const lines *l, int64_t i, int32_t limit, int32_t *ids, int64_t room,
                 int64_t *count);

/* Stem of the files of a split: "train", "validation_{i}_{L}", "test_{i}_{L}". */
void shard_stem(int split, int64_t length, char stem[64]);

typedef struct shard {
    int number;
    int64_t length;
    char stem[64];
} shard;

/* The shards of a split (its kind only) that a folder holds as STEM.src and STEM.trg, by number,
 * then length. *list is the caller's to free. */
status shards_find(const char *folder, int split, shard **list, int *count);
/* The files "PATH.src" without the suffix: of the shard that split and length choose in a folder
 * (length 0: by number; else by length, then number), or of a path to .src, .trg or their stem. */
status shard_path(const char *data, int split, int64_t length, char path[PATH_ROOM]);

/* A file written under a temporary name in the same folder, and renamed by text_commit. */
typedef struct text_file {
    char path[PATH_ROOM], temporary[PATH_ROOM + 32];
    FILE *f;
    int ready; /* on disk, not renamed yet */
} text_file;
status text_create(const char *path, text_file *t);
status text_finish(text_file *t); /* flush to disk */
status text_commit(text_file *t); /* rename */
void text_abandon(text_file *t);  /* removes what was not committed; after a commit: nothing */
/* Remove every temporary file between its text_create and its text_abandon. For signal handlers. */
void text_remove_all(void);

#ifdef __cplusplus
}
#endif
#endif
