/* SPDX-License-Identifier: MIT
 *
 * token_file.c — raw little-endian uint16 ids.
 */
#include "token_file.h"

status token_file_decode(const char *name, const void *from, size_t count, int32_t limit,
                         int32_t end, tokens *out)
{
    const uint8_t *byte = from;
    if (count == 0) return fail(ERR_DATA, "%s: the file is empty: expected uint16 ids", name);
    if (count % 2 != 0)
        return fail(ERR_DATA, "%s: byte %zu: expected the second half of an id: truncated", name,
                    count);
    TRY(tokens_room(out, count / 2));
    size_t before = out->count;
    for (size_t i = 0; i < count; i += 2) {
        uint16_t id = (uint16_t)(byte[i] | byte[i + 1] << 8);
        if (id >= limit && id != end) {
            out->count = before;
            return fail(ERR_DATA, "%s: byte %zu: id %d: expected less than %d, or %d", name, i, id,
                        limit, end);
        }
        out->v[out->count++] = id;
    }
    if (out->v[out->count - 1] == end) return OK;
    out->count = before;
    return fail(ERR_DATA, "%s: byte %zu: expected end-of-text (%d) as the last id: truncated", name,
                count - 2, end);
}

status token_file_encode(const tokens *ids, bytes *out)
{
    TRY(bytes_room(out, 2 * ids->count));
    for (size_t i = 0; i < ids->count; i++) {
        out->v[out->count++] = (char)(ids->v[i] & 0xff);
        out->v[out->count++] = (char)(ids->v[i] >> 8);
    }
    return OK;
}
