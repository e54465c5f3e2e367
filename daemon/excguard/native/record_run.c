#include "record_run.h"

uint32_t excguard_record_run(const struct excguard_record *records, uint32_t count, uint64_t *earliest_ns,
                             uint64_t *latest_ns) {
    const struct excguard_record *first = records;
    uint64_t earliest = UINT64_MAX, latest = 0;
    uint32_t length = 0;
    for (; length < count; length++) {
        const struct excguard_record *record = &records[length];
        if (record->code != first->code || record->pid != first->pid ||
            record->target_id != first->target_id || (record->flags & EXCGUARD_RECORD_REGISTERS) != 0) {
            break;
        }
        earliest = record->time_ns < earliest ? record->time_ns : earliest;
        latest = record->time_ns > latest ? record->time_ns : latest;
    }
    *earliest_ns = earliest;
    *latest_ns = latest;
    return length;
}
