#include "samples.h"

#include <string.h>

enum {
    DIGITS = 20,      /* of UINT64_MAX */
    MICROSECONDS = 6, /* decimals of a time in microseconds */
    SITE_DIGITS = 12,
};

static const char exemplar_start[] = " # {seq=\"";
static const char exemplar_site[] = "\",site_id=\"";
static const char exemplar_value[] = "\"} 1 ";

static char *put(char *out, const char *text, size_t length) {
    memcpy(out, text, length);
    return out + length;
}

static char *put_number(char *out, uint64_t number) {
    char digits[DIGITS];
    char *first = digits + sizeof digits;
    do {
        *--first = (char)('0' + number % 10);
        number /= 10;
    } while (number != 0);
    return put(out, first, (size_t)(digits + sizeof digits - first));
}

/* `number` with so many of its digits behind the point, 18 at most: twice the unit must fit. */
static char *put_decimal(char *out, uint64_t number, uint32_t decimals) {
    if (decimals == 0) {
        return put_number(out, number);
    }
    uint64_t unit = 1;
    for (uint32_t i = 0; i < decimals; i++) {
        unit *= 10;
    }
    out = put_number(out, number / unit);
    char *end = put_number(out, number % unit + unit); /* with a 1 in front, where the point belongs */
    *out = '.';
    return end;
}

static char *put_exemplar(char *out, const struct excguard_exemplar *exemplar) {
    out = put(out, exemplar_start, sizeof exemplar_start - 1);
    out = put_number(out, exemplar->seq);
    if (exemplar->site != 0) {
        out = put(out, exemplar_site, sizeof exemplar_site - 1);
        for (int shift = 4 * (SITE_DIGITS - 1); shift >= 0; shift -= 4) {
            *out++ = "0123456789abcdef"[exemplar->site >> shift & 15];
        }
    }
    out = put(out, exemplar_value, sizeof exemplar_value - 1);
    return put_decimal(out, exemplar->time_us, MICROSECONDS);
}

static size_t size_of(const struct excguard_samples *samples) {
    size_t size = samples->head_size;
    if (samples->count == 0) {
        return size;
    }
    size_t starts = samples->ends[samples->count - 1];
    size += starts + samples->count * (DIGITS + sizeof ".\n");
    if (samples->exemplars != NULL) {
        size += samples->count * (sizeof exemplar_start + sizeof exemplar_site + SITE_DIGITS +
                                  sizeof exemplar_value + 2 * DIGITS + sizeof ".000000");
    }
    if (samples->created_name != NULL) {
        size += samples->count * (strlen(samples->created_name) + strlen(samples->created) + sizeof "\n") +
                starts;
    }
    return size;
}

static char *put_samples(char *out, const struct excguard_samples *samples) {
    size_t created_name = samples->created_name != NULL ? strlen(samples->created_name) : 0;
    size_t created = samples->created_name != NULL ? strlen(samples->created) : 0;
    const char *start = samples->starts;
    out = put(out, samples->head, samples->head_size);
    for (uint32_t i = 0; i < samples->count; i++) {
        const char *end = samples->starts + samples->ends[i];
        out = put(out, start, (size_t)(end - start));
        out = put_decimal(out, samples->values[i], samples->decimals);
        if (samples->exemplars != NULL && samples->exemplars[i].time_us != 0) {
            out = put_exemplar(out, &samples->exemplars[i]);
        }
        *out++ = '\n';
        if (created_name != 0 && samples->values[i] != 0) {
            const char *labels = start + samples->name_size;
            out = put(out, samples->created_name, created_name);
            out = put(out, labels, (size_t)(end - labels));
            out = put(out, samples->created, created);
            *out++ = '\n';
        }
        start = end;
    }
    return out;
}

size_t excguard_samples_size(const struct excguard_samples *const *families, uint32_t count) {
    size_t size = 0;
    for (uint32_t i = 0; i < count; i++) {
        size += size_of(families[i]);
    }
    return size;
}

size_t excguard_samples_write(const struct excguard_samples *const *families, uint32_t count, char *out) {
    char *end = out;
    for (uint32_t i = 0; i < count; i++) {
        end = put_samples(end, families[i]);
    }
    return (size_t)(end - out);
}
