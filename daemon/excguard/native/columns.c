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
#define MAX_FLAVOR 0x1fffffffu

struct slot {
    uint32_t head;
    uint32_t meaning; /* 0 in a free slot; see below */
};

/* A meaning has the number of the name in its low 16 bits, then 8 bits of severity, then these. */
#define SEVERITY_SHIFT 16
#define KNOWN_BIT 24
#define SOFT_BIT 25 /* bits of the target make it soft */

struct table {
    uint32_t factor; /* of the hash */
    uint32_t soft_target;
    struct slot slots[SLOTS];
    /* The severity of a flavor in no table: of the first range that does not end before it. */
    uint32_t range_end[2][8];
    uint32_t range_severity[3][8];
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
        slot->head = head;
        slot->meaning = (uint32_t)names[i] | row->severity << SEVERITY_SHIFT | 1u << KNOWN_BIT |
                        (uint32_t)(row->soft_target != 0) << SOFT_BIT;
        table->soft_target |= row->soft_target; /* the same bit in every row that has one */
    }
    return true;
}

static void choose_ranges(struct table *table, uint32_t release) {
    for (uint32_t type = 0; type < 8; type++) {
        uint32_t first = 0;
        for (int range = 0; range < 3; range++) {
            uint32_t last = UINT32_MAX;
            table->range_severity[range][type] = excguard_range_severity(type, first, release, &last);
            if (range < 2) {
                table->range_end[range][type] = last < MAX_FLAVOR ? last : MAX_FLAVOR;
            }
            first = last < MAX_FLAVOR ? last + 1 : first;
        }
    }
}

/* From the code `at` on. */
static void decode_each(const struct table *table, const char *codes, size_t at, size_t count,
                        const struct excguard_columns *out) {
    const uint32_t soft_targets[2] = {0, table->soft_target};
    uint8_t *restrict types = out->guard_type, *restrict severities = out->severity,
                      *restrict knowns = out->known;
    uint32_t *restrict flavors = out->flavor, *restrict targets = out->target;
    uint16_t *restrict places = out->name;
    for (size_t i = at; i < count; i++) {
        uint64_t code;
        memcpy(&code, codes + i * sizeof code, sizeof code);
        uint32_t head = (uint32_t)(code >> 32), target = (uint32_t)code;
        uint32_t type = head >> 29, flavor = head & MAX_FLAVOR;
        const struct slot slot = table->slots[slot_of(head, table->factor)];
        uint32_t meaning = slot.head == head ? slot.meaning : 0;
        uint32_t known = meaning >> KNOWN_BIT & 1;
        uint32_t range = (flavor > table->range_end[0][type]) + (flavor > table->range_end[1][type]);
        uint32_t severity = known ? meaning >> SEVERITY_SHIFT & 0xff : table->range_severity[range][type];
        bool soft = (target & soft_targets[meaning >> SOFT_BIT & 1]) != 0;
        types[i] = (uint8_t)type;
        flavors[i] = flavor;
        targets[i] = target;
        severities[i] = (uint8_t)(soft ? EXCGUARD_SEVERITY_SOFT : severity);
        knowns[i] = (uint8_t)known;
        places[i] = (uint16_t)meaning;
    }
}

#if defined(__x86_64__) && defined(__linux__)
#include <immintrin.h>

#define AVX2 __attribute__((target("avx2")))

/* Eight 32-bit numbers, each below 2^16, in 16 bits. */
AVX2 static inline __m128i narrow(__m256i numbers) {
    return _mm_packus_epi32(_mm256_castsi256_si128(numbers), _mm256_extracti128_si256(numbers, 1));
}

/* Bit `bit` of each number in all of its bits. */
#define SPREAD(numbers, bit) _mm256_srai_epi32(_mm256_slli_epi32(numbers, 31 - (bit)), 31)

/* As decode_each, eight codes at a time; the last few are left to it. */
AVX2 static size_t decode_eights(const struct table *table, const char *codes, size_t count,
                                 const struct excguard_columns *out) {
    const __m256i *ends = (const void *)table->range_end, *ranges = (const void *)table->range_severity;
    const __m256i first_end = _mm256_loadu_si256(&ends[0]), second_end = _mm256_loadu_si256(&ends[1]);
    const __m256i in_first = _mm256_loadu_si256(&ranges[0]), in_second = _mm256_loadu_si256(&ranges[1]),
                  in_third = _mm256_loadu_si256(&ranges[2]);
    const __m256i factor = _mm256_set1_epi32((int)table->factor), zero = _mm256_setzero_si256();
    const __m256i soft_target = _mm256_set1_epi32((int)table->soft_target);
    const __m256i soft_severity = _mm256_set1_epi32(EXCGUARD_SEVERITY_SOFT);
    const int *slots = (const int *)table->slots;
    size_t i = 0;
    for (; i + 8 <= count; i += 8) {
        __m256 first = _mm256_loadu_ps((const float *)(codes + i * 8));
        __m256 second = _mm256_loadu_ps((const float *)(codes + i * 8 + 32));
        __m256i target =
            _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(first, second, 0x88)), 0xd8);
        __m256i head =
            _mm256_permute4x64_epi64(_mm256_castps_si256(_mm256_shuffle_ps(first, second, 0xdd)), 0xd8);
        __m256i type = _mm256_srli_epi32(head, 29);
        __m256i flavor = _mm256_and_si256(head, _mm256_set1_epi32(MAX_FLAVOR));

        __m256i slot = _mm256_srli_epi32(_mm256_mullo_epi32(head, factor), 32 - SLOT_BITS);
        __m256i same = _mm256_cmpeq_epi32(_mm256_i32gather_epi32(slots, slot, 8), head);
        __m256i meaning = _mm256_and_si256(_mm256_i32gather_epi32(slots + 1, slot, 8), same);
        __m256i known = SPREAD(meaning, KNOWN_BIT);

        __m256i after_first = _mm256_cmpgt_epi32(flavor, _mm256_permutevar8x32_epi32(first_end, type));
        __m256i after_second = _mm256_cmpgt_epi32(flavor, _mm256_permutevar8x32_epi32(second_end, type));
        __m256i severity = _mm256_blendv_epi8(_mm256_permutevar8x32_epi32(in_first, type),
                                              _mm256_permutevar8x32_epi32(in_second, type), after_first);
        severity = _mm256_blendv_epi8(severity, _mm256_permutevar8x32_epi32(in_third, type), after_second);
        __m256i stated =
            _mm256_and_si256(_mm256_srli_epi32(meaning, SEVERITY_SHIFT), _mm256_set1_epi32(0xff));
        severity = _mm256_blendv_epi8(severity, stated, known);
        __m256i hard = _mm256_cmpeq_epi32(_mm256_and_si256(target, soft_target), zero);
        severity =
            _mm256_blendv_epi8(severity, soft_severity, _mm256_andnot_si256(hard, SPREAD(meaning, SOFT_BIT)));

        _mm256_storeu_si256((__m256i *)(out->target + i), target);
        _mm256_storeu_si256((__m256i *)(out->flavor + i), flavor);
        __m128i name = narrow(_mm256_and_si256(meaning, _mm256_set1_epi32(0xffff)));
        _mm_storeu_si128((__m128i *)(out->name + i), name);
        __m128i bytes = _mm_packus_epi16(narrow(type), narrow(severity));
        _mm_storel_epi64((__m128i *)(out->guard_type + i), bytes);
        _mm_storel_epi64((__m128i *)(out->severity + i), _mm_unpackhi_epi64(bytes, bytes));
        __m128i one = narrow(_mm256_srli_epi32(known, 31));
        _mm_storel_epi64((__m128i *)(out->known + i), _mm_packus_epi16(one, one));
    }
    return i;
}

/* With AVX2, which nearly every x86_64 processor has, in a third of the time. */
static size_t decode_by_vectors(const struct table *table, const char *codes, size_t count,
                                const struct excguard_columns *out) {
    return __builtin_cpu_supports("avx2") ? decode_eights(table, codes, count, out) : 0;
}
#else
static size_t decode_by_vectors(const struct table *table, const char *codes, size_t count,
                                const struct excguard_columns *out) {
    (void)table, (void)codes, (void)count, (void)out;
    return 0;
}
#endif

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
    size_t done = decode_by_vectors(&table, codes, count, out);
    decode_each(&table, codes, done, count, out);
    return true;
}
