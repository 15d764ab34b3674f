/* SPDX-License-Identifier: MIT
 *
 * story.h — the built-in story corpus (spec of the tasks, section 6): short stories that state
 * facts and need them again later. Stands in for BabiStories where its files are not at hand; no
 * number measured on it compares with the paper's.
 */
#ifndef MOSAIC_STORY_H
#define MOSAIC_STORY_H

#include <stddef.h>
#include <stdint.h>

/* The longest sentence has fewer than 320 bytes and a story at most 17 of them. */
enum { STORY_BYTES = 8192, STORY_SPANS = 128 };

/* Bytes begin..end-1 repeat a fact stated earlier in the story. */
typedef struct story_span {
    uint16_t begin, end;
    char slot[4]; /* the fact: "H", "O", "Q", ... (story.c) */
} story_span;

typedef struct story {
    size_t bytes, spans;
    char text[STORY_BYTES]; /* ASCII, no line feed, not terminated */
    story_span span[STORY_SPANS];
} story;

/* Story (seed, split, index); the same bytes on every machine. */
void story_make(uint64_t seed, uint64_t split, uint64_t index, story *s);

#endif
