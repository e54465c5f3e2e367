/*
 * Decodes a column of EXC_GUARD codes: what guard.h says of one code, for many, into one array a field.
 * No call of the interpreter, no allocation; the caller owns all memory.
 */
#ifndef EXCGUARD_COLUMNS_H
#define EXCGUARD_COLUMNS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Where the columns go; each has room for as many elements as there are codes. */
struct excguard_columns {
    uint8_t *guard_type;
    uint32_t *flavor;
    uint32_t *target;
    uint8_t *severity; /* enum excguard_severity */
    uint8_t *known;    /* 1: the tables have the flavor on the release */
    uint16_t *name;    /* of names; 0 for a flavor without a name */
};

/*
 * codes: `count` codes, in the byte order of the machine; they need not be aligned.
 * release: as for excguard_guard_decode; UINT32_MAX for an unknown one, where a number has its newest
 * meaning. names: the number that stands for the name of each row of excguard_guard_rows, in its order; 0 for
 * none.
 *
 * False when the tables are too large for it, which a test excludes.
 */
bool excguard_decode_columns(const void *codes, size_t count, uint32_t release, const uint16_t *names,
                             const struct excguard_columns *out);

#endif
