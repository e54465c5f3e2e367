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
#define EXCGUARD_GUARD_ROW(type, flavor, first, last, severity, soft_target, name) \
    {type, flavor, first, last, severity, soft_target, name},
#include "guard_table.h"
};

static const struct severity_row severity_rows[] = {
#define EXCGUARD_SEVERITY_ROW(type, first_flavor, last_flavor, first, last, severity) \
    {type, first_flavor, last_flavor, first, last, severity},
#include "guard_table.h"
};

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

/* The first row that is not below this one: rows are sorted by guard type, flavor and first release. */
static size_t lower_bound(uint32_t guard_type, uint32_t flavor) {
    uint64_t wanted = (uint64_t)guard_type << 32 | flavor;
    size_t first = 0, last = COUNT(guard_rows);
    while (first < last) {
        size_t middle = first + (last - first) / 2;
        if (((uint64_t)guard_rows[middle].guard_type << 32 | guard_rows[middle].flavor) < wanted) {
            first = middle + 1;
        } else {
            last = middle;
        }
    }
    return first;
}

uint32_t excguard_range_severity(uint32_t guard_type, uint32_t flavor, uint32_t release,
                                 uint32_t *last_flavor) {
    for (size_t i = 0; i < COUNT(severity_rows); i++) {
        const struct severity_row *row = &severity_rows[i];
        if (row->guard_type == guard_type && row->first_flavor <= flavor && flavor <= row->last_flavor &&
            row->first_release <= release && release <= row->last_release) {
            *last_flavor = row->last_flavor;
            return row->severity;
        }
    }
    return EXCGUARD_SEVERITY_UNKNOWN;
}

void excguard_guard_decode(uint64_t code, uint32_t release, struct excguard_guard *out) {
    *out = (struct excguard_guard){
        .guard_type = excguard_guard_type(code),
        .flavor = excguard_guard_flavor(code),
        .target = excguard_guard_target(code),
    };
    for (size_t i = lower_bound(out->guard_type, out->flavor); i < COUNT(guard_rows); i++) {
        const struct excguard_guard_row *row = &guard_rows[i];
        if (row->guard_type != out->guard_type || row->flavor != out->flavor) {
            break;
        }
        if (row->first_release <= release && release <= row->last_release) {
            out->known = true;
            out->severity = out->target & row->soft_target ? EXCGUARD_SEVERITY_SOFT : row->severity;
            out->kernel_name = row->kernel_name;
            return;
        }
    }
    uint32_t last_flavor;
    out->severity = excguard_range_severity(out->guard_type, out->flavor, release, &last_flavor);
}

const struct excguard_guard_row *excguard_guard_rows(uint32_t *count) {
    *count = COUNT(guard_rows);
    return guard_rows;
}
