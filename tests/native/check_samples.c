/*
 * Writes samples of all shapes into memory of exactly the size that excguard_samples_size says; under a
 * sanitizer of addresses, a byte too many ends the program. Prints the number of shapes.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "must.h"
#include "samples.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const uint64_t values[] = {0, 1, 9, 10, 999999999, 1000000000, UINT64_MAX - 1, UINT64_MAX};
static const uint32_t decimals[] = {0, 1, 6, 9, 18};
static const struct excguard_exemplar exemplars[] = {
    {0, 0, 0},
    {0, 1, 0},
    {UINT64_MAX, UINT64_MAX, UINT64_MAX},
    {41, 1700000000500000, 0x3f9c2a71b04e},
};

/* One sample for each value, each with the same exemplar. */
static void write_all(const char *start, uint32_t places, const struct excguard_exemplar *exemplar,
                      const char *created) {
    static const char head[] = "# TYPE name counter\n";
    uint32_t ends[COUNT(values)];
    struct excguard_exemplar shown[COUNT(values)];
    size_t length = strlen(start);
    char *starts = malloc(COUNT(values) * length + 1);
    MUST(starts != NULL);
    for (uint32_t i = 0; i < COUNT(values); i++) {
        memcpy(starts + i * length, start, length);
        ends[i] = (uint32_t)((i + 1) * length);
        shown[i] = exemplar != NULL ? *exemplar : exemplars[0];
    }
    const struct excguard_samples samples = {
        .head = head,
        .head_size = sizeof head - 1,
        .name_size = 4,
        .starts = starts,
        .ends = ends,
        .values = values,
        .count = COUNT(values),
        .decimals = places,
        .created_name = created != NULL ? "name_created" : NULL,
        .created = created,
        .exemplars = exemplar != NULL ? shown : NULL,
    };
    const struct excguard_samples none = {.head = head, .head_size = 0};
    const struct excguard_samples *families[] = {&samples, &none, &samples};
    size_t size = excguard_samples_size(families, COUNT(families));
    char *out = malloc(size);
    MUST(out != NULL);
    size_t written = excguard_samples_write(families, COUNT(families), out);
    MUST(written <= size && written % 2 == 0 && out[written - 1] == '\n');
    MUST(memcmp(out, out + written / 2, written / 2) == 0 && memcmp(out, head, sizeof head - 1) == 0);
    free(out);
    free(starts);
}

int main(void) {
    static const char *const starts[] = {"name ", "name{label=\"value\"} "};
    static const char *const created[] = {NULL, "1600000000.000"};
    unsigned shapes = 0;
    for (size_t start = 0; start < COUNT(starts); start++) {
        for (size_t places = 0; places < COUNT(decimals); places++) {
            for (size_t exemplar = 0; exemplar <= COUNT(exemplars); exemplar++) {
                for (size_t when = 0; when < COUNT(created); when++) {
                    write_all(starts[start], decimals[places],
                              exemplar < COUNT(exemplars) ? &exemplars[exemplar] : NULL, created[when]);
                    shapes++;
                }
            }
        }
    }
    printf("%u\n", shapes);
    return 0;
}
