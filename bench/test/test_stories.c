/* SPDX-License-Identifier: MIT
 *
 * test_stories.c — the story generator and the tokenizers: the golden values and the laws of the
 * spec of the tasks, sections 5 and 6.
 */
#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "bpe.h"
#include "json_lines.h"
#include "rng.h"
#include "selftest.h"
#include "story.h"
#include "verb.h"

static story tale; /* 9 KB, not for the stack */

static uint64_t story_hash(uint64_t split, uint64_t index)
{
    story_make(1, split, index, &tale);
    return fnv1a(FNV_OFFSET, tale.text, tale.bytes);
}

static status give_story(void *user, int64_t i, const char **text, size_t *count)
{
    (void)user;
    story_make(1, 0, (uint64_t)i, &tale);
    *text = tale.text;
    *count = tale.bytes;
    return OK;
}

void selftest_story_golden(selftest *t)
{
    static const struct {
        size_t bytes;
        uint64_t hash;
    } golden[] = {{937, UINT64_C(0x9de39dd538fe2601)},
                  {979, UINT64_C(0xe184968a4c7c511b)},
                  {1015, UINT64_C(0x070cf4ea7afa2e19)}};
    static const char opening[] =
        "Once upon a time, in a busy town, there was a brave fox named Zoe. Zoe could eat "
        "pancakes all day long. Zoe had a best friend, a kind squirrel named Lena.";
    for (uint64_t i = 0; i < 3; i++) {
        EXPECT(story_hash(0, i) == golden[i].hash);
        EXPECT(tale.bytes == golden[i].bytes);
    }
    EXPECT(story_hash(0x100, 0) == UINT64_C(0xfef1b27c47f56dbe));
    story_make(1, 0, 0, &tale);
    EXPECT(memcmp(tale.text, opening, sizeof opening - 1) == 0);
    uint64_t hash = FNV_OFFSET;
    size_t length = 0;
    for (uint64_t i = 0; i < 100; i++) {
        story_make(1, 0, i, &tale);
        hash = fnv1a(fnv1a(hash, tale.text, tale.bytes), "\n", 1);
        length += tale.bytes + 1;
    }
    EXPECT(hash == UINT64_C(0xb4bc3d576586b53d));
    EXPECT(length == 92366);
}

/* Where `word` stands in the first `count` bytes, the case of its first letter aside. */
static int occurs(const char *text, size_t count, const char *word, size_t n)
{
    for (size_t i = 0; i + n <= count; i++)
        if (tolower((unsigned char)text[i]) == tolower((unsigned char)word[0]) &&
            memcmp(text + i + 1, word + 1, n - 1) == 0)
            return 1;
    return 0;
}

static int is_pronoun(const char *slot)
{
    return slot[0] == 'h' || slot[0] == 'f' || slot[0] == 'g';
}

static int well_formed(const story *s)
{
    if (s->bytes < 100 || s->bytes > STORY_BYTES / 2 || s->spans > STORY_SPANS / 2) return 0;
    if (!strchr(".!?\"", s->text[s->bytes - 1])) return 0;
    for (size_t i = 0; i < s->bytes; i++) {
        char c = s->text[i];
        if (c < ' ' || c > '~' || strchr("{}[]@^|", c)) return 0;
        if (c == ' ' && s->text[i + 1] == ' ') return 0;
    }
    return 1;
}

/* Every span is a fact told before, and spans of one slot agree. */
static int spans_hold(const story *s)
{
    for (size_t i = 0; i < s->spans; i++) {
        const story_span *a = &s->span[i];
        size_t n = (size_t)(a->end - a->begin);
        if (a->begin >= a->end || a->end > s->bytes) return 0;
        if (!is_pronoun(a->slot) && !occurs(s->text, a->begin, s->text + a->begin, n)) return 0;
        for (size_t j = 0; j < i; j++) {
            const story_span *b = &s->span[j];
            if (b->end > a->begin) return 0;
            if (strcmp(a->slot, b->slot) != 0) continue;
            if ((size_t)(b->end - b->begin) != n) return 0;
            if (!occurs(s->text + b->begin, n, s->text + a->begin, n)) return 0;
        }
    }
    return 1;
}

#define LIST(name, ...) {#name, {__VA_ARGS__}},
#define BEAT(name, ...)
static const struct {
    const char *name, *word[40];
} lists[] = {
#include "story_words.def"
};
#undef LIST
#undef BEAT

enum { CAST = 64, KNOWN = 3 };

/* Number of a listed name, girls first; -1 for invented ones. */
static int cast_number(const char *name, size_t n)
{
    for (int list = 0; list < 2; list++)
        for (int i = 0; i < CAST / 2; i++)
            if (strlen(lists[list].word[i]) == n && memcmp(lists[list].word[i], name, n) == 0)
                return list * CAST / 2 + i;
    return -1;
}

/* Kind, trait and food of a listed hero are those of every other story. */
static int cast_holds(const story *s, char seen[CAST][KNOWN][32])
{
    static const char slots[] = "KTE";
    int hero = -1;
    for (size_t i = 0; i < s->spans; i++)
        if (strcmp(s->span[i].slot, "H") == 0)
            hero = cast_number(s->text + s->span[i].begin,
                               (size_t)(s->span[i].end - s->span[i].begin));
    for (size_t i = 0; hero >= 0 && i < s->spans; i++) {
        const story_span *a = &s->span[i];
        const char *known = a->slot[1] ? NULL : strchr(slots, a->slot[0]);
        if (!known) continue;
        char *fact = seen[hero][known - slots];
        int n = a->end - a->begin;
        if (!fact[0]) snprintf(fact, 32, "%.*s", n, s->text + a->begin);
        if ((int)strlen(fact) != n || memcmp(fact, s->text + a->begin, (size_t)n) != 0) return 0;
    }
    return 1;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

void selftest_story_laws(selftest *t)
{
    enum { STORIES = 12000 };
    static char seen[CAST][KNOWN][32];
    uint64_t *hash = malloc(STORIES * sizeof *hash);
    long malformed = 0, false_spans = 0, strangers = 0, broken = 0, twice = 0, facts = 0;
    bytes line = {0}, back = {0};
    memset(seen, 0, sizeof seen);
    for (int i = 0; i < STORIES; i++) {
        hash[i] = story_hash(0, (uint64_t)i);
        malformed += !well_formed(&tale);
        false_spans += !spans_hold(&tale);
        strangers += !cast_holds(&tale, seen);
        int64_t lone = 0;
        json_fault fault;
        line.count = back.count = 0;
        broken += json_encode(tale.text, tale.bytes, &line) != OK ||
                  json_decode(line.v, line.count, &back, &lone, &fault) != OK ||
                  back.count != tale.bytes || memcmp(back.v, tale.text, tale.bytes) != 0;
    }
    qsort(hash, STORIES, sizeof *hash, by_value);
    for (int i = 1; i < STORIES; i++)
        twice += hash[i] == hash[i - 1];
    for (int i = 0; i < CAST; i++)
        facts += seen[i][2][0] != '\0';
    EXPECT(malformed == 0);
    EXPECT(false_spans == 0);
    EXPECT(strangers == 0);
    EXPECT(broken == 0);
    EXPECT(twice == 0);
    EXPECT(facts == CAST);
    free(hash);
    free(line.v);
    free(back.v);
}

void selftest_story_tokens(selftest *t)
{
    static const size_t golden[] = {220, 238, 247};
    bpe *b = NULL;
    encoder *e = NULL;
    tokens ids = {0};
    uint64_t hash = FNV_OFFSET;
    size_t count = 0, all = 0;
    EXPECT(bpe_gpt2(&b) == OK);
    if (!b || encoder_open(b, &e) != OK) goto done;
    for (uint64_t i = 0; i < 2000; i++) {
        ids.count = 0;
        story_make(1, 0, i, &tale);
        EXPECT(encode(e, tale.text, tale.bytes, &ids) == OK);
        if (i < 3) EXPECT(ids.count == golden[i]);
        all += ids.count;
        if (i >= 100) continue;
        count += ids.count + 1;
        for (size_t k = 0; k <= ids.count; k++) {
            unsigned id = k < ids.count ? ids.v[k] : GPT2_END;
            unsigned char pair[2] = {(unsigned char)(id & 255), (unsigned char)(id >> 8)};
            hash = fnv1a(hash, pair, 2);
        }
    }
    EXPECT(count == 22743);
    EXPECT(hash == UINT64_C(0xc572dfe1d7da031b));
    EXPECT_NEAR((double)all / 2000, 226, 3);
done:
    EXPECT(e != NULL);
    encoder_close(e);
    bpe_free(b);
    free(ids.v);
}

static status give_word(void *user, int64_t i, const char **text, size_t *count)
{
    const char *const *list = user;
    *text = list[i];
    *count = strlen(list[i]);
    return OK;
}

/* Of pairs that occur as often, the one of the lowest ids is merged first, wherever it stands. */
void selftest_bpe_ties(selftest *t)
{
    static const char *const texts[] = {"zy", "ba", "yx", "ab", "zy", "ba", "yx", "ab"};
    static const char *const merged[] = {"ab", "ba", "yx", "zy"};
    bpe *b = NULL;
    EXPECT(bpe_train(give_word, (void *)texts, 8, 300, &b) == OK);
    if (!b) return;
    EXPECT(b->merges == 4);
    for (int i = 0; i < 4 && b->merges == 4; i++) {
        size_t n;
        const char *text = bpe_bytes(b, 256 + i, &n);
        EXPECT(n == 2 && memcmp(text, merged[i], 2) == 0);
    }
    bpe_free(b);
}

/* Letters of an alphabet of `letters`, one piece. */
static status give_letters(void *user, int64_t i, const char **text, size_t *count)
{
    (void)i;
    const bytes *b = user;
    *text = b->v;
    *count = (size_t)b->count;
    return OK;
}

static int draw_letters(bytes *b, size_t count, uint32_t letters, uint64_t seed)
{
    rng r = rng_sample(seed, 0, 0, letters);
    b->count = 0;
    for (size_t i = 0; i < count; i++) {
        const char letter = (char)('a' + rng_below(&r, letters));
        if (bytes_put(b, &letter, 1) != OK) return 0;
    }
    return 1;
}

/* The most frequent pair of v[n], of equals the smallest; returns how often it is there. */
static int most_frequent_pair(const uint16_t *v, size_t n, uint16_t pair[2])
{
    int most = 0;
    for (size_t i = 0; i + 1 < n; i++) {
        int count = 0;
        for (size_t j = 0; j + 1 < n; j++)
            count += v[j] == v[i] && v[j + 1] == v[i + 1];
        const int smaller = v[i] < pair[0] || (v[i] == pair[0] && v[i + 1] < pair[1]);
        if (count < most || (count == most && !smaller)) continue;
        most = count;
        pair[0] = v[i];
        pair[1] = v[i + 1];
    }
    return most;
}

/* Merges by their definition, pair after pair over the whole text; runs of a letter overlap. */
void selftest_bpe_definition(selftest *t)
{
    for (uint64_t seed = 1; seed <= 12; seed++) {
        bytes text = {0};
        bpe *b = NULL;
        uint16_t v[160], pair[2] = {0, 0};
        size_t n = 0;
        if (!draw_letters(&text, 120 + seed, 1 + (uint32_t)seed % 4, seed)) return;
        for (; n < (size_t)text.count; n++)
            v[n] = (unsigned char)text.v[n];
        EXPECT(bpe_train(give_letters, &text, 1, 300, &b) == OK);
        int merges = 0;
        for (; b && merges < 43 && most_frequent_pair(v, n, pair) >= 2; merges++) {
            if (merges >= b->merges) break;
            EXPECT(b->pair[merges][0] == pair[0] && b->pair[merges][1] == pair[1]);
            size_t kept = 0;
            for (size_t i = 0; i < n; kept++) {
                const int here = i + 1 < n && v[i] == pair[0] && v[i + 1] == pair[1];
                v[kept] = here ? (uint16_t)(256 + merges) : v[i];
                i += here ? 2 : 1;
            }
            n = kept;
        }
        EXPECT(b && b->merges == merges);
        bpe_free(b);
        free(text.v);
    }
}

/* A text without a space is one piece: it takes no longer than its length asks for. */
void selftest_bpe_long_piece(selftest *t)
{
    bytes text = {0};
    bpe *b = NULL;
    const double from = seconds_now();
    if (!draw_letters(&text, 400000, 10, 3)) return;
    EXPECT(bpe_train(give_letters, &text, 1, 1024, &b) == OK && b->merges == 1024 - 257);
    EXPECT(seconds_now() - from < 60); /* 0.3 s alone; by the square of the length, minutes */
    bpe_free(b);
    free(text.v);
}

static double tokens_per_story(bpe *b)
{
    encoder *e;
    tokens ids = {0};
    if (encoder_open(b, &e) != OK) return -1;
    for (uint64_t i = 0; i < 4000; i++) {
        story_make(1, 0, i, &tale);
        if (encode(e, tale.text, tale.bytes, &ids) != OK) ids.count = 0;
    }
    encoder_close(e);
    free(ids.v);
    return (double)ids.count / 4000;
}

void selftest_bpe_builtin(selftest *t)
{
    static const char *const first[] = {"he", " t", " the", " a", " s", "ed", " b", " w"};
    static const struct {
        int32_t vocab;
        double tokens;
        uint64_t list; /* the hash of all merges: which of equal counts comes first counts */
    } sizes[] = {{2048, 217, UINT64_C(0x287e879c7282b55d)},
                 {1024, 267, UINT64_C(0xe5e9ca386b6b7cbd)}};
    for (int k = 0; k < 2; k++) {
        bpe *b = NULL, *again = NULL;
        bytes list = {0};
        EXPECT(bpe_train(give_story, NULL, 2000, sizes[k].vocab, &b) == OK);
        if (!b) return;
        EXPECT(b->merges == sizes[k].vocab - 257);
        EXPECT(b->end == sizes[k].vocab - 1);
        for (int i = 0; i < 8; i++) {
            size_t n;
            const char *text = bpe_bytes(b, 256 + i, &n);
            EXPECT(n == strlen(first[i]) && memcmp(text, first[i], n) == 0);
        }
        EXPECT_NEAR(tokens_per_story(b), sizes[k].tokens, 0.5);
        EXPECT(bpe_write(b, &list) == OK);
        EXPECT(fnv1a(FNV_OFFSET, list.v, list.count) == sizes[k].list);
        EXPECT(bpe_read("list", list.v, list.count, &again) == OK);
        EXPECT(again && again->hash == b->hash && again->vocab == b->vocab);
        bpe_free(b);
        bpe_free(again);
        free(list.v);
    }
    bpe *b = NULL;
    EXPECT(bpe_train(give_story, NULL, 10, 256, &b) == ERR_ARG && !b);
    EXPECT(bpe_train(give_story, NULL, 10, 65537, &b) == ERR_ARG && !b);
}
