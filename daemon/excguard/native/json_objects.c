#include "json_objects.h"

#include <stdbool.h>
#include <string.h>

#if defined(__SSE2__)
#include <emmintrin.h>
#elif defined(__ARM_NEON)
#include <arm_neon.h>
#endif

#define BLOCK 64 /* bytes: one bit each in a mask */

/* Bytes of a block by what they are, the first in the lowest bit. */
struct masks {
    uint64_t quotes;
    uint64_t backslashes;
    uint64_t brackets; /* of all four kinds */
};

/* An opening bracket is '[' or '{', a closing one ']' or '}': each pair differs in one bit only. */
#define CASE 0x20
#define OPENING '{'
#define CLOSING '}'

#if defined(__SSE2__)

static struct masks masks_of(const uint8_t *block) {
    struct masks masks = {0, 0, 0};
    const __m128i upper = _mm_set1_epi8(CASE);
    for (unsigned at = 0; at < BLOCK; at += 16) {
        __m128i bytes = _mm_loadu_si128((const __m128i *)(const void *)(block + at));
        __m128i lower = _mm_or_si128(bytes, upper);
        __m128i bracket = _mm_or_si128(_mm_cmpeq_epi8(lower, _mm_set1_epi8(OPENING)),
                                       _mm_cmpeq_epi8(lower, _mm_set1_epi8(CLOSING)));
        masks.quotes |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('"')))
                        << at;
        masks.backslashes |= (uint64_t)(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(bytes, _mm_set1_epi8('\\')))
                             << at;
        masks.brackets |= (uint64_t)(unsigned)_mm_movemask_epi8(bracket) << at;
    }
    return masks;
}

#elif defined(__ARM_NEON)

/* The highest bit of each byte of 64, as movemask has it on x86. */
static uint64_t bits_of(uint8x16_t first, uint8x16_t second, uint8x16_t third, uint8x16_t fourth) {
    const uint8x16_t bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    uint8x16_t low = vpaddq_u8(vandq_u8(first, bit), vandq_u8(second, bit));
    uint8x16_t high = vpaddq_u8(vandq_u8(third, bit), vandq_u8(fourth, bit));
    uint8x16_t sums = vpaddq_u8(low, high);
    return vgetq_lane_u64(vreinterpretq_u64_u8(vpaddq_u8(sums, sums)), 0);
}

static struct masks masks_of(const uint8_t *block) {
    uint8x16_t quotes[4], backslashes[4], brackets[4];
    for (unsigned part = 0; part < 4; part++) {
        uint8x16_t bytes = vld1q_u8(block + part * 16);
        uint8x16_t lower = vorrq_u8(bytes, vdupq_n_u8(CASE));
        quotes[part] = vceqq_u8(bytes, vdupq_n_u8('"'));
        backslashes[part] = vceqq_u8(bytes, vdupq_n_u8('\\'));
        brackets[part] = vorrq_u8(vceqq_u8(lower, vdupq_n_u8(OPENING)), vceqq_u8(lower, vdupq_n_u8(CLOSING)));
    }
    struct masks masks = {
        bits_of(quotes[0], quotes[1], quotes[2], quotes[3]),
        bits_of(backslashes[0], backslashes[1], backslashes[2], backslashes[3]),
        bits_of(brackets[0], brackets[1], brackets[2], brackets[3]),
    };
    return masks;
}

#else

static struct masks masks_of(const uint8_t *block) {
    struct masks masks = {0, 0, 0};
    for (unsigned at = 0; at < BLOCK; at++) {
        uint8_t lower = block[at] | CASE;
        masks.quotes |= (uint64_t)(block[at] == '"') << at;
        masks.backslashes |= (uint64_t)(block[at] == '\\') << at;
        masks.brackets |= (uint64_t)(lower == OPENING || lower == CLOSING) << at;
    }
    return masks;
}

#endif

/* The bytes behind a backslash that is not itself escaped. `carried`: whether the first byte is one; then the
 * next block's. */
static uint64_t escaped_by(uint64_t backslashes, bool *carried) {
    uint64_t escaped = *carried;
    backslashes &= ~escaped;
    *carried = false;
    while (backslashes) {
        unsigned at = (unsigned)__builtin_ctzll(backslashes);
        if (at == BLOCK - 1) {
            *carried = true;
            break;
        }
        escaped |= UINT64_C(2) << at;
        backslashes &= ~(UINT64_C(3) << at);
    }
    return escaped;
}

/* Each bit: whether the number of bits up to and including it is odd. */
static uint64_t odd_up_to(uint64_t bits) {
    for (unsigned shift = 1; shift < BLOCK; shift *= 2) {
        bits ^= bits << shift;
    }
    return bits;
}

/* Whether `length` bytes are white space and, when `comma` is set, one comma. */
static bool is_separator(const uint8_t *text, size_t length, bool comma) {
    unsigned commas = 0;
    for (size_t at = 0; at < length; at++) {
        if (text[at] == ',') {
            commas++;
        } else if (text[at] != ' ' && text[at] != '\n' && text[at] != '\r' && text[at] != '\t') {
            return false;
        }
    }
    return commas == comma;
}

size_t excguard_json_objects(const uint8_t *text, size_t length, uint32_t *positions, size_t room) {
    size_t count = 0, depth = 0, behind = 1; /* behind the last object, or the opening bracket */
    bool carried = false;
    uint64_t string = 0; /* all ones where a block begins within a string */
    if (length == 0 || length > UINT32_MAX || text[0] != '[') {
        return 0;
    }
    for (size_t start = 0; start < length; start += BLOCK) {
        uint8_t last[BLOCK];
        const uint8_t *block = text + start;
        if (length - start < BLOCK) {
            memset(last, 0, sizeof last);
            memcpy(last, block, length - start);
            block = last;
        }
        struct masks masks = masks_of(block);
        uint64_t plain = ~escaped_by(masks.backslashes, &carried);
        uint64_t within = odd_up_to(masks.quotes & plain) ^ string;
        string = (uint64_t)0 - (within >> (BLOCK - 1));
        for (uint64_t rest = masks.brackets & plain & ~within; rest; rest &= rest - 1) {
            size_t at = start + (unsigned)__builtin_ctzll(rest);
            uint8_t bracket = text[at];
            if ((bracket | CASE) == OPENING) {
                if (depth == 1) {
                    if (bracket != '{' || count + 3 > room ||
                        !is_separator(text + behind, at - behind, count > 0)) {
                        return 0;
                    }
                    positions[count++] = (uint32_t)at;
                }
                depth++;
                continue;
            }
            depth--;
            if (depth == 1) {
                if (bracket != '}') {
                    return 0;
                }
                behind = at + 1;
                positions[count++] = (uint32_t)behind;
            } else if (depth == 0) {
                if (bracket != ']' || room == 0 || !is_separator(text + behind, at - behind, false)) {
                    return 0;
                }
                positions[count++] = (uint32_t)at + 1;
                return count;
            }
        }
    }
    return 0;
}
