#include "columns.h"

#include <string.h>

#include "guard.h"

/*
 * The rows of one release by the upper half of a code, its head (guard type and flavor): a hash table in
 * which no two heads share a slot, so that a look-up is one comparison and no branch depends on the codes.
 */
#define SLOT_BITS 11
#define SLOTS (1u << SLOT_BITS)
#define MAX_ROWS (SLOTS / 8)

struct slot {
    uint32_t head;
    uint16_t name;
    uint8_t severity;
    uint8_t soft; /* 1: bits of the target make it soft */
};

struct table {
    uint32_t factor; /* of the hash */
    uint32_t soft_target;
    struct slot slots[SLOTS];
    /* The severity of a flavor in no table: of the first range that does not end before it. */
    uint32_t range_end[8][2];
    uint8_t range_severity[8][4];
};

static inline uint32_t slot_of(uint32_t head, uint32_t factor) {
    return (head * factor) >> (32 - SLOT_BITS);
}

/* Places the heads of the rows, of which there are a few more than a hundred; false when two meet in a slot.
 */
static bool place(struct table *table, const struct excguard_guard_row *rows, const uint16_t *names,
                  uint32_t count, uint32_t release) {
    memset(table->slots, 0, sizeof table->slots); /* head 0 has the guard type 0, of which there is no row */
    for (uint32_t i = 0; i < count; i++) {
        const struct excguard_guard_row *row = &rows[i];
        if (release != UINT32_MAX && (release < row->first_release || release > row->last_release)) {
            continue;
        }
        uint32_t head = row->guard_type << 29 | row->flavor;
        struct slot *slot = &table->slots[slot_of(head, table->factor)];
        if (slot->head && slot->head != head) {
            return false;
        }
        /* Rows come by first release, so that of an unknown release the newest meaning of a number stays. */
        *slot = (struct slot){head, names[i], (uint8_t)row->severity, row->soft_target != 0};
        table->soft_target |= row->soft_target; /* the same bit in every row that has one */
    }
    return true;
}

static void choose_ranges(struct table *table, uint32_t release) {
    for (uint32_t type = 0; type < 8; type++) {
        uint32_t first = 0;
        for (int range = 0; range < 3; range++) {
            uint32_t last = UINT32_MAX;
            table->range_severity[type][range] =
                (uint8_t)excguard_range_severity(type, first, release, &last);
            if (range < 2) {
                table->range_end[type][range] = last < 0x1fffffffu ? last : UINT32_MAX;
            }
            first = last < 0x1fffffffu ? last + 1 : first;
        }
    }
}

bool excguard_decode_columns(const void *codes, size_t count, uint32_t release, const uint16_t *names,
                             const struct excguard_columns *out) {
    struct table table = {.factor = 0x9e3779b1u};
    uint32_t rows_count;
    const struct excguard_guard_row *rows = excguard_guard_rows(&rows_count);
    if (rows_count > MAX_ROWS) {
        return false;
    }
    for (int tries = 0; !place(&table, rows, names, rows_count, release); tries++) {
        if (tries == 10000) {
            return false;
        }
        table.factor = table.factor * 0x2c9277b5u + 0xac564b06u; /* any sequence of numbers will do */
        table.factor |= 1;
    }
    choose_ranges(&table, release);

    const uint32_t factor = table.factor;
    const uint32_t soft_targets[2] = {0, table.soft_target};
    const char *restrict from = codes;
    uint8_t *restrict types = out->guard_type, *restrict severities = out->severity,
                      *restrict knowns = out->known;
    uint32_t *restrict flavors = out->flavor, *restrict targets = out->target;
    uint16_t *restrict places = out->name;
    for (size_t i = 0; i < count; i++) {
        uint64_t code;
        memcpy(&code, from + i * sizeof code, sizeof code);
        uint32_t head = (uint32_t)(code >> 32), target = (uint32_t)code;
        uint32_t type = head >> 29, flavor = head & 0x1fffffffu;
        const struct slot slot = table.slots[slot_of(head, factor)];
        uint32_t known = (slot.head == head) & (head != 0);
        const uint32_t *ends = table.range_end[type];
        uint32_t range = (flavor > ends[0]) + (flavor > ends[1]);
        uint8_t severity = known ? slot.severity : table.range_severity[type][range];
        bool soft = known && (target & soft_targets[slot.soft]) != 0;
        types[i] = (uint8_t)type;
        flavors[i] = flavor;
        targets[i] = target;
        severities[i] = soft ? EXCGUARD_SEVERITY_SOFT : severity;
        knowns[i] = (uint8_t)known;
        places[i] = known ? slot.name : 0;
    }
    return true;
}
