/* SPDX-License-Identifier: MIT
 *
 * test_corpus.c — the files of BabiStories: in and out, damaged ones refused (spec of the tasks,
 * section 5).
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zstd.h>

#include "corpus.h"
#include "json_lines.h"
#include "scratch.h"
#include "token_file.h"

static int same_stream(const corpus *a, const corpus *b)
{
    return a->stream.count == b->stream.count &&
           memcmp(a->stream.v, b->stream.v, a->stream.count * sizeof *a->stream.v) == 0;
}

/* --- JSON lines ---------------------------------------------------------------------------- */

void selftest_json_lines(selftest *t)
{
    static const struct {
        const char *line, *text;
        int64_t lone;
    } good[] = {
        {"\"\"", "", 0},
        {"\"a\\\"b\\\\c\\/d\\b\\f\\n\\r\\t\"", "a\"b\\c/d\b\f\n\r\t", 0},
        {"\"\\u00e9\\u4f60\\uD83D\\uDE00\"", "\xc3\xa9\xe4\xbd\xa0\xf0\x9f\x98\x80", 0},
        {"\"\xc3\xa9\"", "\xc3\xa9", 0},
        {"\"\\ud83d x\"", "\xef\xbf\xbd x", 1},
        {"\"\\ude00\\ud83d\\u0041\"",
         "\xef\xbf\xbd\xef\xbf\xbd"
         "A",
         2},
        {" \t\"a\" \t\r", "a", 0},
        {"\"\\ud83d\\ud83d\\ude00\"", "\xef\xbf\xbd\xf0\x9f\x98\x80", 1},
    };
    static const struct {
        const char *line;
        size_t byte;
    } bad[] = {
        {"", 1},
        {"abc", 1},
        {"\"abc", 5},
        {"\"a\\x\"", 4},
        {"\"a\\u12\"", 7},
        {"\"a\" b", 5},
        {"\"a\tb\"", 3},
        {"\"a\xff\"", 3},
        {"\"\xc0\x80\"", 2},
        {"\"\xed\xa0\x80\"", 2},
        {"\"\\", 3},
        {"[\"a\"]", 1},
    };
    bytes text = {0}, line = {0};
    json_fault fault;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        int64_t lone = 0;
        text.count = line.count = 0;
        EXPECT(json_decode(good[i].line, strlen(good[i].line), &text, &lone, &fault) == OK);
        EXPECT(text.count == strlen(good[i].text) && lone == good[i].lone);
        EXPECT(text.count == 0 || memcmp(text.v, good[i].text, text.count) == 0);
        EXPECT(json_encode(good[i].text, strlen(good[i].text), &line) == OK);
        text.count = 0;
        EXPECT(json_decode(line.v, line.count, &text, &lone, &fault) == OK);
        EXPECT(text.count == strlen(good[i].text));
        EXPECT(text.count == 0 || memcmp(text.v, good[i].text, text.count) == 0);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        int64_t lone = 0;
        text.count = 0;
        EXPECT(json_decode(bad[i].line, strlen(bad[i].line), &text, &lone, &fault) == ERR_DATA);
        EXPECT(fault.byte == bad[i].byte && text.count == 0);
    }
    EXPECT(json_encode("a\xff", 2, &line) == ERR_DATA);
    free(text.v);
    free(line.v);
}

void selftest_token_file(selftest *t)
{
    static const uint16_t ids[] = {7454, 2402, 257, 640, 50256};
    static const unsigned char file[] = {0x1e, 0x1d, 0x62, 0x09, 0x01,
                                         0x01, 0x80, 0x02, 0x50, 0xc4};
    tokens stream = {0}, back = {0};
    bytes out = {0};
    EXPECT(tokens_put(&stream, ids, 5) == OK && token_file_encode(&stream, &out) == OK);
    EXPECT(out.count == sizeof file && memcmp(out.v, file, sizeof file) == 0);
    EXPECT(token_file_decode("f", file, sizeof file, GPT2_END, GPT2_END, &back) == OK);
    EXPECT(back.count == 5 && memcmp(back.v, ids, sizeof ids) == 0);
    back.count = 0;
    EXPECT(token_file_decode("f", file, 0, GPT2_END, GPT2_END, &back) == ERR_DATA);
    EXPECT(token_file_decode("f", file, 9, GPT2_END, GPT2_END, &back) == ERR_DATA);
    EXPECT(token_file_decode("f", file, 8, GPT2_END, GPT2_END, &back) == ERR_DATA);
    EXPECT(token_file_decode("f", file, 10, 2000, GPT2_END, &back) == ERR_DATA);
    EXPECT(strstr(last_error(), "f: byte 0: id 7454") != NULL);
    EXPECT(back.count == 0);
    free(stream.v);
    free(back.v);
    free(out.v);
}

/* --- files of a corpus --------------------------------------------------------------------- */

/* The files of a corpus in a folder of their own. */
static const char *written(selftest *t, const data_options *o)
{
    const struct task *task;
    const char *folder = scratch_folder(t);
    EXPECT(task_find("babistories", &task) == OK && task->write(task, o, folder) == OK);
    return folder;
}

/* A file of a folder compressed, beside it. */
static const char *packed_file(selftest *t, const char *folder, const char *from, const char *to)
{
    bytes plain = {0};
    EXPECT(file_read(scratch_path(t, folder, from), 0, &plain) == OK);
    const size_t room = ZSTD_compressBound(plain.count);
    char *packed = malloc(room);
    const size_t count = ZSTD_compress(packed, room, plain.v, plain.count, 3);
    const char *path = scratch_put(t, folder, to, packed, count);
    free(packed);
    free(plain.v);
    return path;
}

/* What was generated, written and read back from every format is one stream. */
static void expect_one_stream(selftest *t, const char *tokenizer)
{
    data_options o = data_options_default(), read = o;
    o.stories = 1500;
    o.tokenizer = tokenizer;
    const char *folder = written(t, &o);
    read.data = folder;
    read.tokenizer = strcmp(tokenizer, "gpt2") == 0 ? NULL : tokenizer;
    for (int held_out = 0; held_out < 2; held_out++) {
        corpus made, ids, text;
        o.split = read.split = held_out ? SPLIT_VALIDATION : SPLIT_TRAIN;
        EXPECT(corpus_open(&o, &made) == OK && corpus_open(&read, &ids) == OK);
        EXPECT(same_stream(&made, &ids));
        EXPECT(made.tokenizer && ids.tokenizer && made.tokenizer->hash == ids.tokenizer->hash);
        EXPECT(made.callback.count == made.stream.count && ids.callback.count == 0);
        EXPECT(unlink(scratch_path(t, folder, held_out ? "val.bin" : "train.bin")) == 0);
        EXPECT(corpus_open(&read, &text) == OK && same_stream(&made, &text));
        int64_t ends = 0;
        for (size_t i = 0; i < text.stream.count; i++)
            ends += text.stream.v[i] == text.tokenizer->end;
        EXPECT(ends == made.stories && ends == text.stories);
        EXPECT(text.stream.v[text.stream.count - 1] == text.tokenizer->end);
        corpus_close(&made);
        corpus_close(&ids);
        corpus_close(&text);
    }
}

void selftest_corpus_files(selftest *t)
{
    expect_one_stream(t, "gpt2");
    expect_one_stream(t, "builtin");
    /* One file holds both splits; packed or not is the same. */
    data_options o = data_options_default(), one = o, packed = o, ids = o;
    corpus whole = {0}, part, again, from_ids;
    o.stories = 100;
    o.tokenizer = "gpt2";
    const char *folder = written(t, &o);
    one.corpus = scratch_path(t, folder, "traindataset.txt");
    packed.corpus = packed_file(t, folder, "traindataset.txt", "stories.jsonl.zst");
    ids.data = scratch_path(t, folder, "train.bin");
    EXPECT(corpus_open(&o, &whole) == OK && whole.stories == 100);
    bytes start[2] = {{0}};
    EXPECT(file_read(one.corpus, 0, &start[0]) == OK &&
           file_read(packed.corpus, 1000, &start[1]) == OK);
    EXPECT(start[1].count >= 1000 && memcmp(start[0].v, start[1].v, 1000) == 0);
    free(start[0].v);
    free(start[1].v);
    size_t joined = 0;
    for (int held_out = 0; held_out < 2; held_out++) {
        one.split = packed.split = ids.split = held_out ? SPLIT_VALIDATION : SPLIT_TRAIN;
        EXPECT(corpus_open(&one, &part) == OK && corpus_open(&packed, &again) == OK);
        EXPECT(corpus_open(&ids, &from_ids) == OK);
        EXPECT(part.stories == (held_out ? 5 : 95) && same_stream(&part, &again));
        EXPECT(part.hash == again.hash && same_stream(&part, &from_ids));
        EXPECT(joined + part.stream.count <= whole.stream.count &&
               memcmp(whole.stream.v + joined, part.stream.v, 2 * part.stream.count) == 0);
        joined += part.stream.count;
        corpus_close(&part);
        corpus_close(&again);
        corpus_close(&from_ids);
    }
    EXPECT(joined == whole.stream.count);
    corpus_close(&whole);
}

static void refused(selftest *t, const data_options *o, status code, const char *message)
{
    corpus c;
    status s = corpus_open(o, &c);
    EXPECT(s == code);
    EXPECT(strstr(last_error(), message) != NULL && strchr(last_error(), '\n') == NULL);
    if (!strstr(last_error(), message))
        fprintf(stderr, "  got \"%s\", expected \"%s\" in it\n", last_error(), message);
    EXPECT(c.stream.v == NULL && c.tokenizer == NULL);
    corpus_close(&c);
}

void selftest_corpus_damaged(selftest *t)
{
    static const struct {
        const char *text, *message;
    } bad[] = {
        {"", "stories.jsonl: the file is empty"},
        {"\"one\"\n", "stories.jsonl: one story"},
        {"\"one\"\n\"two\n\"three\"\n", "stories.jsonl: line 2: byte 5: expected a closing quote"},
        {"\"one\"\n\n\"three\"\n", "stories.jsonl: line 2: byte 1: expected a JSON string"},
        {"\"one\"\n{\"text\": 1}\n\"x\"\n",
         "stories.jsonl: line 2: byte 1: expected a JSON string"},
        {"\"one\"\n\"a\xfe\"\n\"x\"\n", "stories.jsonl: line 2: byte 3: expected valid UTF-8"},
        {"\x28\xb5\x2f\xfd\x20", "stories.jsonl: zstd frame ends early"},
        {"\x28\xb5\x2f\xfd\x20\x05\x07\x01\x01", "stories.jsonl: not readable as zstd"},
    };
    static const char half[] = "\x01\x00\x50";
    static const char high[] = "\x01\x00\xff\xff\x50\xc4", open_end[] = "\x01\x00\x02\x00";
    const char *folder = scratch_folder(t);
    data_options o = data_options_default();
    o.corpus = scratch_path(t, folder, "stories.jsonl");
    refused(t, &o, ERR_FILE, "stories.jsonl: no such file");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        scratch_text(t, folder, "stories.jsonl", bad[i].text);
        for (int held_out = 0; held_out < 2; held_out++) {
            o.split = held_out ? SPLIT_VALIDATION : SPLIT_TRAIN;
            refused(t, &o, ERR_DATA, bad[i].message);
        }
    }
    EXPECT(folder_make(scratch_text(t, folder, "stories.jsonl", "\"one\"\n\"two\"\n")) == ERR_FILE);
    o.split = SPLIT_TRAIN;
    o.tokenizer = "gpt3";
    refused(t, &o, ERR_ARG, "tokenizer \"gpt3\"");
    o.tokenizer = "builtin";
    o.vocab = 100;
    refused(t, &o, ERR_ARG, "vocab 100");
    o.tokenizer = NULL;
    o.data = folder;
    refused(t, &o, ERR_ARG, "both data and corpus");
    o.corpus = NULL;
    refused(t, &o, ERR_FILE, "expected train.bin or traindataset.txt");
    scratch_put(t, folder, "train.bin", half, 3);
    refused(t, &o, ERR_DATA, "train.bin: byte 3: expected the second half");
    scratch_put(t, folder, "train.bin", high, 6);
    refused(t, &o, ERR_DATA, "train.bin: byte 2: id 65535");
    scratch_put(t, folder, "train.bin", open_end, 4);
    refused(t, &o, ERR_DATA, "train.bin: byte 2: expected end-of-text");
    scratch_text(t, folder, CORPUS_TOKENIZER, "hello\n");
    refused(t, &o, ERR_DATA, CORPUS_TOKENIZER ": line 1");
}
