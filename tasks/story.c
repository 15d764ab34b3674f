/* SPDX-License-Identifier: MIT
 *
 * story.c — the story generator (spec of the tasks, section 6).
 *
 * A story is drawn from the stream key(seed, 9, split, index): two characters, the facts, then
 * one template per sentence. pick(LIST) = LIST[zipf(size)]. A listed name has the same kind, trait
 * and food in every story (from a stream of its own: knowledge for the persistent memory); an
 * invented name gets them afresh (knowledge in the context alone).
 *
 * Templates: {x} slot; {x!} slot whose bytes are a callback span; [a|b] one alternative, drawn
 * when reached; @ indefinite article before the next letter; ^ capitalise the next letter, which
 * may be that of the article. A template starts capitalised.
 *
 * Slots: H K T E  name, kind, trait, food of the hero    h hs  she|he, her|his
 *        F K2 T2  the same of the friend                 f fs
 *        G g helper and its pronoun, P setting, D destination, O C A object, colour, look,
 *        Q hiding place, N Z number of things, m moral, w weather;
 *        drawn at each use: e feeling, s sound, act, t trait, k animal, c colour, d destination.
 */
#include "story.h"

#include <string.h>

#include "rng.h"

typedef struct wordlist {
    uint32_t count;
    const char *const *word;
} wordlist;

#define LIST(name, ...) static const char *const name##_words[] = {__VA_ARGS__};
#define BEAT(name, ...) LIST(name, __VA_ARGS__)
#include "story_words.def"
#undef LIST
#define LIST(name, ...)                                                                            \
    static const wordlist name = {sizeof name##_words / sizeof *name##_words, name##_words};
#include "story_words.def"
#undef LIST
#undef BEAT

enum { STREAM_STORIES = 9, STREAM_CAST = 0xCA57, FILLERS = 2, NAME_BYTES = 16 };

typedef struct person {
    char name[NAME_BYTES];
    const char *kind, *trait, *food;
    int female;
} person;

typedef struct fact {
    const char *slot, *value;
} fact;

typedef struct teller {
    rng r;
    story *s;
    int article, capital; /* pending, for the next letter */
    person hero, friend;
    char hidden[64];
    fact facts[24];
    int known;
    uint32_t told; /* bit set of the fillers used */
} teller;

static const char *pick(rng *r, wordlist list)
{
    return list.word[rng_zipf(r, list.count)];
}

static const char *uniform(rng *r, wordlist list)
{
    return list.word[rng_below(r, list.count)];
}

static void draw_attributes(rng *r, person *p)
{
    p->kind = rng_below(r, 5) < 2 ? (p->female ? "girl" : "boy") : pick(r, ANIMAL);
    p->trait = pick(r, TRAIT);
    p->food = pick(r, FOOD);
}

/* A character whose name is not `taken`. */
static void draw_person(rng *r, person *p, const char *taken)
{
    int listed;
    p->female = (int)rng_below(r, 2);
    do {
        listed = rng_below(r, 10) < 6;
        if (listed) {
            strcpy(p->name, pick(r, p->female ? GIRL : BOY));
        } else {
            strcpy(p->name, uniform(r, ONSET));
            strcat(p->name, uniform(r, NUCLEUS));
            strcat(p->name, uniform(r, CODA));
        }
    } while (strcmp(p->name, taken) == 0);
    if (!listed) {
        draw_attributes(r, p);
        return;
    }
    uint64_t words[1 + NAME_BYTES] = {STREAM_CAST};
    size_t n = strlen(p->name);
    for (size_t i = 0; i < n; i++)
        words[1 + i] = (unsigned char)p->name[i];
    rng own = {rng_key(words, 1 + n)};
    draw_attributes(&own, p);
}

static void set_slot(teller *t, const char *slot, const char *value)
{
    t->facts[t->known++] = (fact){slot, value};
}

static void learn_cast(teller *t)
{
    const person *h = &t->hero, *f = &t->friend;
    set_slot(t, "H", h->name);
    set_slot(t, "K", h->kind);
    set_slot(t, "T", h->trait);
    set_slot(t, "E", h->food);
    set_slot(t, "h", h->female ? "she" : "he");
    set_slot(t, "hs", h->female ? "her" : "his");
    set_slot(t, "F", f->name);
    set_slot(t, "K2", f->kind);
    set_slot(t, "T2", f->trait);
    set_slot(t, "f", f->female ? "she" : "he");
    set_slot(t, "fs", f->female ? "her" : "his");
}

static void draw_facts(teller *t)
{
    rng *r = &t->r;
    const char *helper = pick(r, HELPER);
    int woman = strcmp(helper, "Grandma") == 0 || strcmp(helper, "Aunt June") == 0;
    set_slot(t, "G", helper);
    set_slot(t, "g", woman ? "she" : "he");
    set_slot(t, "P", pick(r, SETTING));
    set_slot(t, "D", pick(r, DEST));
    set_slot(t, "O", pick(r, OBJECT));
    set_slot(t, "C", pick(r, COLOR));
    set_slot(t, "A", pick(r, LOOK));
    strcpy(t->hidden, pick(r, PREP));
    strcat(t->hidden, " the ");
    if (rng_below(r, 2) == 1) {
        strcat(t->hidden, pick(r, HADJ));
        strcat(t->hidden, " ");
    }
    strcat(t->hidden, pick(r, HIDE));
    set_slot(t, "Q", t->hidden);
    set_slot(t, "N", uniform(r, NUMBER));
    set_slot(t, "Z", pick(r, THING));
    set_slot(t, "m", pick(r, MORAL));
    set_slot(t, "w", pick(r, WEATHER));
}

/* A fact of this story, or a word drawn for this one use. */
static const char *slot_value(teller *t, const char *slot)
{
    static const struct {
        const char *slot;
        const wordlist *list;
    } fresh[] = {{"e", &FEEL},   {"s", &SOUND}, {"act", &ACT}, {"t", &TRAIT},
                 {"k", &ANIMAL}, {"c", &COLOR}, {"d", &DEST}};
    for (int i = 0; i < t->known; i++)
        if (strcmp(t->facts[i].slot, slot) == 0) return t->facts[i].value;
    for (size_t i = 0; i < sizeof fresh / sizeof *fresh; i++)
        if (strcmp(fresh[i].slot, slot) == 0) return pick(&t->r, *fresh[i].list);
    return "?"; /* not reached: the templates name no other slot */
}

static void put(story *s, char c)
{
    if (s->bytes < STORY_BYTES) s->text[s->bytes++] = c;
}

static int is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static char upper(char c)
{
    return c >= 'a' && c <= 'z' ? (char)(c - 'a' + 'A') : c;
}

static void put_letter(teller *t, char c)
{
    if (is_letter(c)) {
        if (t->article) {
            put(t->s, t->capital ? 'A' : 'a');
            if (strchr("aeiou", c)) put(t->s, 'n');
            put(t->s, ' ');
        } else if (t->capital) {
            c = upper(c);
        }
        t->article = t->capital = 0;
    }
    put(t->s, c);
}

/* Expand the slot that starts behind the brace; returns the byte after its closing brace. */
static const char *emit_slot(teller *t, const char *at)
{
    char name[4] = "";
    size_t n = 0;
    while (*at != '}' && *at != '!')
        name[n++] = *at++;
    int callback = *at == '!';
    const char *value = slot_value(t, name);
    put_letter(t, *value);
    size_t begin = t->s->bytes - 1;
    for (value++; *value; value++)
        put_letter(t, *value);
    if (callback && t->s->spans < STORY_SPANS) {
        story_span *span = &t->s->span[t->s->spans++];
        *span = (story_span){(uint16_t)begin, (uint16_t)t->s->bytes, ""};
        memcpy(span->slot, name, sizeof name);
    }
    return at + 1 + callback;
}

/* The alternatives that start behind the bracket: move to the chosen one. */
static const char *choose_branch(teller *t, const char *at)
{
    uint64_t count = 1;
    for (const char *c = at; *c != ']'; c++)
        count += *c == '|';
    for (uint64_t skip = rng_below(&t->r, count); skip > 0; at++)
        skip -= *at == '|';
    return at;
}

static void put_template(teller *t, const char *at)
{
    t->capital = 1;
    t->article = 0;
    while (*at) {
        char c = *at++;
        if (c == '{')
            at = emit_slot(t, at);
        else if (c == '[')
            at = choose_branch(t, at);
        else if (c == '|')
            at = strchr(at, ']') + 1;
        else if (c == '@')
            t->article = 1;
        else if (c == '^')
            t->capital = 1;
        else if (c != ']')
            put_letter(t, c);
    }
}

static void tell(teller *t, wordlist beat)
{
    uint32_t i = rng_zipf(&t->r, beat.count);
    if (t->s->bytes > 0) put(t->s, ' ');
    put_template(t, beat.word[i]);
}

/* The fillers of one place; none is told twice. */
static void tell_fillers(teller *t, const int *place, int count, int here)
{
    for (int i = 0; i < count; i++) {
        if (place[i] != here) continue;
        uint32_t which;
        do
            which = rng_zipf(&t->r, FILL.count);
        while (t->told >> which & 1);
        t->told |= UINT32_C(1) << which;
        put(t->s, ' ');
        put_template(t, FILL.word[which]);
    }
}

void story_make(uint64_t seed, uint64_t split, uint64_t index, story *s)
{
    teller t = {.r = rng_sample(seed, STREAM_STORIES, split, index), .s = s};
    s->bytes = s->spans = 0;
    draw_person(&t.r, &t.hero, "");
    draw_person(&t.r, &t.friend, t.hero.name);
    learn_cast(&t);
    draw_facts(&t);
    int place[FILLERS], fillers = (int)rng_below(&t.r, FILLERS + 1);
    for (int i = 0; i < fillers; i++)
        place[i] = (int)rng_below(&t.r, 4);
    int count = (int)rng_below(&t.r, 2), thank = (int)rng_below(&t.r, 2);
    int feast = (int)rng_below(&t.r, 2);

    tell(&t, OPEN);
    tell(&t, LIKE);
    tell(&t, FRIEND);
    tell_fillers(&t, place, fillers, 0);
    tell(&t, PLANT);
    tell_fillers(&t, place, fillers, 1);
    tell(&t, JOURNEY);
    if (count) tell(&t, COUNT);
    tell_fillers(&t, place, fillers, 2);
    tell(&t, PROBLEM);
    tell(&t, RECALL);
    tell(&t, RESOLVE);
    tell_fillers(&t, place, fillers, 3);
    if (thank) tell(&t, THANK);
    if (count) tell(&t, CRECALL);
    if (feast) tell(&t, FEAST);
    tell(&t, END);
}
