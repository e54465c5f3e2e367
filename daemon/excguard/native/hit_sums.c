#include "hit_sums.h"

#include "journal_file.h"

static void raise_to(uint64_t *time_ns, uint64_t other) {
    *time_ns = other > *time_ns ? other : *time_ns;
}

bool excguard_hit_sums_add(const struct excguard_journal *journal, const struct excguard_hit_label *labels,
                           struct excguard_hit_sums *sums) {
    bool complete = true;
    for (uint32_t slot = excguard_next_used(journal, 0); slot < EXCGUARD_HIT_SLOTS;
         slot = excguard_next_used(journal, slot + 1)) {
        const struct journal_hit_counter *counter = &journal->map->hits[slot];
        const struct excguard_hit_label *label = &labels[slot];
        uint64_t lost = atomic_load_explicit(&counter->lost, memory_order_relaxed);
        uint64_t hits = atomic_load_explicit(&counter->recorded, memory_order_relaxed) + lost;
        uint64_t last_ns = atomic_load_explicit(&counter->last_time_ns, memory_order_relaxed);
        uint64_t key = atomic_load_explicit(&counter->key, memory_order_relaxed);
        if (key == 0 || hits == 0) {
            continue; /* as excguard_journal_hits */
        }
        if (key != label->key) {
            complete = false;
            continue;
        }
        sums->hits[label->series] += hits;
        sums->target_hits[label->target] += hits;
        sums->lost += lost;
        raise_to(&sums->last_ns[label->series], last_ns);
        raise_to(&sums->target_last_ns[label->target], last_ns);
    }
    return complete;
}
