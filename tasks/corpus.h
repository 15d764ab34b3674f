/* SPDX-License-Identifier: MIT
 *
 * corpus.h — the token stream of one split of BabiStories, wherever it comes from: generated, JSON
 * lines, or .bin files (spec of the tasks, sections 5 and 6).
 */
#ifndef MOSAIC_CORPUS_H
#define MOSAIC_CORPUS_H

#include "bpe.h"
#include "task.h"

typedef struct corpus {
    bpe *tokenizer;
    tokens stream;  /* the ids of each story, then end-of-text             */
    bytes callback; /* generated: [stream.count] 1 on callback tokens; else empty */
    int64_t stories;
    int64_t lone;  /* lone surrogates that became U+FFFD                    */
    uint64_t hash; /* FNV-1a of the file; of the recipe if generated        */
} corpus;

/* Names in a folder of official files. */
#define CORPUS_TOKENIZER "tokenizer.bpe"

/* Open the split of `o`. Without data and corpus: generated stories, o->stories of them (0:
 * 20000), a tenth of that but at most 2000 in other splits. A folder holds train.bin and val.bin,
 * or traindataset.txt and valdataset.txt or testdataset.txt (each may end in .zst), and perhaps
 * tokenizer.bpe. A single file is .bin or JSON lines; the last 5 % of its stories are validation.
 * Files have no test split apart from validation. On failure *out is empty. */
status corpus_open(const data_options *o, corpus *out);
void corpus_close(corpus *c);

#endif
