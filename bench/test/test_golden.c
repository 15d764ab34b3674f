/* SPDX-License-Identifier: MIT
 *
 * test_golden.c — the reader of model files on damaged copies of a committed one: each is refused
 * in one line that names the file and what is wrong in it.
 */
#include <hdf5.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "check/golden.h"
#include "scratch.h"

static const char source[] = MOSAIC_SOURCE_DIR "/reference/golden/model_top4_uniform.h5";

static void count_row(void *user, const char *what, double error, double tol)
{
    int *rows = user;
    (void)what;
    rows[0]++;
    rows[1] += !(error <= tol);
}

/* The first `most` bytes of the source. */
static int copy(const char *path, long most)
{
    char block[4096];
    size_t n;
    long left = most;
    FILE *from = fopen(source, "rb"), *to = fopen(path, "wb");
    while (from && to && left > 0 && (n = fread(block, 1, sizeof block, from)) > 0) {
        if ((long)n > left) n = (size_t)left;
        left -= (long)fwrite(block, 1, n, to);
    }
    const int good = from && to;
    if (from) fclose(from);
    if (to && fclose(to) != 0) return 0;
    return good;
}

static void expect_file_refused(selftest *t, const char *path, const char *word)
{
    int rows[2] = {0, 0};
    EXPECT(golden_model(path, NULL, count_row, rows) != OK);
    if (!strstr(last_error(), word)) fprintf(stderr, "%s: %s\n", word, last_error());
    EXPECT(strstr(last_error(), word) && strstr(last_error(), path));
    EXPECT(!strchr(last_error(), '\n'));
}

/* Replace a dataset by one of `count` zeros; none if count = 0. */
static void replace(const char *path, const char *name, hsize_t count)
{
    hid_t file = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT);
    H5Ldelete(file, name, H5P_DEFAULT);
    if (count > 0) {
        hid_t space = H5Screate_simple(1, &count, NULL);
        H5Dclose(
            H5Dcreate2(file, name, H5T_IEEE_F64LE, space, H5P_DEFAULT, H5P_DEFAULT, H5P_DEFAULT));
        H5Sclose(space);
    }
    H5Fclose(file);
}

void selftest_golden_damage(selftest *t)
{
    static const struct {
        const char *name, *word;
        hsize_t count;
    } damage[] = {
        {"tokens", "tokens", 0},
        {"targets", "targets: expected 72 numbers, got 5", 5},
        {"params/emb.weight", "params: expected", 0},
        {"params/ln_out.weight", "params/ln_out.weight: expected 32 numbers, got 7", 7},
        {"logits", "logits", 0},
        {"logits", "logits", 3},
        {"grads/emb.weight", "grads: expected", 0},
        {"block0_contextual/keys", "block0_contextual/keys", 1},
        {"adamw_losses", "adamw_losses", 5000},
    };
    const char *path = scratch_path(t, scratch_folder(t), "golden.h5");
    int rows[2] = {0, 0};
    const status s = golden_model(source, NULL, count_row, rows);
    if (s != OK) fprintf(stderr, "%s\n", last_error());
    EXPECT(s == OK && rows[0] > 40 && rows[1] == 0);
    for (size_t i = 0; i < sizeof damage / sizeof *damage; i++) {
        EXPECT(copy(path, 1 << 30));
        replace(path, damage[i].name, damage[i].count);
        expect_file_refused(t, path, damage[i].word);
    }
    hid_t h = -1;
    EXPECT(copy(path, 1 << 30) && (h = H5Fopen(path, H5F_ACC_RDWR, H5P_DEFAULT)) >= 0);
    H5Adelete(h, "method");
    H5Fclose(h);
    expect_file_refused(t, path, "method");
    for (long bytes = 0; bytes < 100000; bytes += 33333) {
        EXPECT(copy(path, bytes));
        expect_file_refused(t, path, "HDF5");
    }
    unlink(path);
    expect_file_refused(t, path, "HDF5");
    expect_file_refused(t, MOSAIC_SOURCE_DIR "/reference/golden/transforms.h5", "attribute");
}
