/*
 * The samples of a metric as text, in the syntax that Prometheus' plain format and OpenMetrics share:
 *
 *     excguard_hits_total{target="mail"} 42 # {seq="41",site_id="3f9c2a71b04e"} 1 1700000000.500000
 *     excguard_hits_created{target="mail"} 1600000000.000
 *
 * The parts behind the value (the exemplar and the line of the creation time) are those of OpenMetrics.
 */
#ifndef EXCGUARD_SAMPLES_H
#define EXCGUARD_SAMPLES_H

#include <stddef.h>
#include <stdint.h>

struct excguard_exemplar {
    uint64_t seq;
    uint64_t time_us; /* since the epoch; 0: the sample has none */
    uint64_t site;    /* 48 bits, written as `site_id`; 0: not known */
};

struct excguard_samples {
    const char *name;
    const char *labels;   /* of all samples in turn, each as `{name="value"}`; escaped */
    const uint32_t *ends; /* where the labels of each sample end */
    const uint64_t *values;
    uint32_t count;
    uint32_t decimals;        /* how many digits of the values stand behind the point */
    const char *created_name; /* NULL: no creation times; samples of value 0 never have one */
    const char *created;
    const struct excguard_exemplar *exemplars; /* NULL: none */
};

/* How many bytes excguard_samples_write writes at most. */
size_t excguard_samples_size(const struct excguard_samples *samples);

/* Writes the lines to `out`, without a NUL at the end; how many bytes they have. */
size_t excguard_samples_write(const struct excguard_samples *samples, char *out);

#endif
