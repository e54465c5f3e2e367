#include "guard.h"

#include <stddef.h>

struct severity_row {
    uint32_t guard_type;
    uint32_t first_flavor, last_flavor;
    uint32_t first_release, last_release;
    uint32_t severity;
};

/* Both tables are inclusive at both ends, and no two rows of one overlap. */
static const struct excguard_guard_row guard_rows[] = {
#define EXCGUARD_GUARD_ROW(type, flavor, first, last, severity, name) \
    {type, flavor, first, last, severity, name},
#include "guard_table.h"
};

static const struct severity_row severity_rows[] = {
#define EXCGUARD_SEVERITY_ROW(type, first_flavor, last_flavor, first, last, severity) \
    {type, first_flavor, last_flavor, first, last, severity},
#include "guard_table.h"
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

void excguard_guard_decode(uint64_t code, uint32_t release, struct excguard_guard *out) {
    *out = (struct excguard_guard){
        .guard_type = excguard_guard_type(code),
        .flavor = excguard_guard_flavor(code),
        .target = excguard_guard_target(code),
    };
    for (size_t i = 0; i < COUNT(guard_rows); i++) {
        const struct excguard_guard_row *row = &guard_rows[i];
        if (row->guard_type == out->guard_type && row->flavor == out->flavor &&
            row->first_release <= release && release <= row->last_release) {
            out->known = true;
            out->severity = row->severity;
            out->kernel_name = row->kernel_name;
            return;
        }
    }
    /* A flavor without a name is still as severe as its range. */
    for (size_t i = 0; i < COUNT(severity_rows); i++) {
        const struct severity_row *row = &severity_rows[i];
        if (row->guard_type == out->guard_type && row->first_flavor <= out->flavor &&
            out->flavor <= row->last_flavor && row->first_release <= release &&
            release <= row->last_release) {
            out->severity = row->severity;
            return;
        }
    }
}

const struct excguard_guard_row *excguard_guard_rows(uint32_t *count) {
    *count = COUNT(guard_rows);
    return guard_rows;
}
