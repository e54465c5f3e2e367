#include "hit_sums.h"

#include <stddef.h>

bool excguard_hit_keys_equal(const struct excguard_hit_counter *counters, const uint64_t *keys,
                             uint32_t count) {
    uint64_t differences = 0;
    for (uint32_t i = 0; i < count; i++) {
        differences |= counters[i].key ^ keys[i];
    }
    return differences == 0;
}

void excguard_hit_sums(const struct excguard_hit_counter *counters, const struct excguard_sum_members *of,
                       uint64_t *hits, uint64_t *last_ns) {
    uint32_t member = 0;
    for (uint32_t sum = 0; sum < of->sums; sum++) {
        uint64_t count = 0;
        uint64_t last = 0;
        for (; member < of->ends[sum]; member++) {
            const struct excguard_hit_counter *counter = &counters[of->members[member]];
            count += counter->recorded + counter->lost;
            last = counter->last_time_ns > last ? counter->last_time_ns : last;
        }
        hits[sum] = count;
        if (last_ns != NULL) {
            last_ns[sum] = last;
        }
    }
}

uint64_t excguard_hits_lost(const struct excguard_hit_counter *counters, uint32_t count) {
    uint64_t lost = 0;
    for (uint32_t i = 0; i < count; i++) {
        lost += counters[i].lost;
    }
    return lost;
}
