/*
 * libFuzzer over the decoder of columns, which must agree with the decoder of one code, and over the writer
 * of metrics, whose text must fit into what it asks for.
 *
 * The input: a release (4 bytes), the number of codes (1 byte), codes; the rest is the text of labels.
 */
#include <stdlib.h>
#include <string.h>

#include "columns.h"
#include "guard.h"
#include "must.h"
#include "samples.h"

enum { CODES_MAX = 255, NAMES_MAX = 4096 };

static void check_columns(const uint8_t *codes, size_t count, uint32_t release) {
    static uint16_t names[NAMES_MAX];
    uint32_t rows;
    const struct excguard_guard_row *table = excguard_guard_rows(&rows);
    MUST(rows < NAMES_MAX);
    for (uint32_t row = 0; row < rows; row++) {
        names[row] = (uint16_t)(table[row].kernel_name != NULL ? row + 1 : 0);
    }
    uint8_t *guard_type = malloc(count + 1), *severity = malloc(count + 1), *known = malloc(count + 1);
    uint32_t *flavor = malloc(4 * count + 4), *target = malloc(4 * count + 4);
    uint16_t *name = malloc(2 * count + 2);
    struct excguard_columns out = {guard_type, flavor, target, severity, known, name};
    MUST(excguard_decode_columns(codes, count, release, names, &out));
    for (size_t at = 0; at < count; at++) {
        uint64_t code;
        struct excguard_guard guard;
        memcpy(&code, codes + 8 * at, sizeof code);
        excguard_guard_decode(code, release, &guard);
        MUST(guard_type[at] == guard.guard_type && flavor[at] == guard.flavor && target[at] == guard.target);
        if (release == UINT32_MAX) { /* here an unknown one, whose meanings are the newest */
            continue;
        }
        MUST(severity[at] == guard.severity && known[at] == guard.known);
        MUST((name[at] != 0) == (guard.kernel_name != NULL));
        MUST(name[at] == 0 || strcmp(table[name[at] - 1].kernel_name, guard.kernel_name) == 0);
    }
    free(guard_type);
    free(severity);
    free(known);
    free(flavor);
    free(target);
    free(name);
}

/* Two families of the same samples: names of one letter, and the text of labels in equal parts. */
static void check_samples(const uint8_t *values, size_t count, const uint8_t *text, size_t size,
                          uint32_t options) {
    char *starts = malloc(size + count + 1);
    uint64_t *numbers = malloc(8 * count + 8);
    uint32_t *ends = malloc(4 * count + 4);
    struct excguard_exemplar *exemplars = calloc(count + 1, sizeof *exemplars);
    memcpy(numbers, values, 8 * count);
    size_t end = 0;
    for (size_t at = 0; at < count; at++) {
        size_t first = size * at / count, last = size * (at + 1) / count;
        starts[end++] = 'n';
        memcpy(starts + end, text + first, last - first);
        end += last - first;
        ends[at] = (uint32_t)end;
        exemplars[at] = (struct excguard_exemplar){numbers[at], options & 4 ? numbers[at] : 0, numbers[at]};
    }
    struct excguard_samples samples = {
        .head = (const char *)text,
        .head_size = (uint32_t)size,
        .name_size = 1,
        .starts = starts,
        .ends = ends,
        .values = numbers,
        .count = (uint32_t)count,
        .decimals = options >> 3 & 15,
        .created_name = options & 1 ? "name_created" : NULL,
        .created = options & 1 ? "1.5" : NULL,
        .exemplars = options & 2 ? exemplars : NULL,
    };
    const struct excguard_samples *families[] = {&samples, &samples};
    size_t room = excguard_samples_size(families, 2);
    char *out = malloc(room + 1);
    MUST(excguard_samples_write(families, 2, out) <= room);
    free(out);
    free(starts);
    free(numbers);
    free(ends);
    free(exemplars);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t size) {
    uint32_t release;
    if (size < 5) {
        return 0;
    }
    memcpy(&release, bytes, sizeof release);
    size_t count = bytes[4];
    bytes += 5;
    size -= 5;
    count = count < size / 8 ? count : size / 8;
    /* A block of its own, so that a read beyond the codes is seen. */
    uint8_t *codes = malloc(8 * count + 1);
    memcpy(codes, bytes, 8 * count);
    check_columns(codes, count, release);
    check_samples(codes, count, bytes + 8 * count, size - 8 * count, release);
    free(codes);
    return 0;
}
