/*
 * Metrics as text, in the syntax that Prometheus' plain format and OpenMetrics share:
 *
 *     # HELP excguard_hits EXC_GUARD exceptions that the kernel raised, by the rule that was broken.
 *     # TYPE excguard_hits counter
 *     excguard_hits_total{target="mail"} 42 # {seq="41",site_id="3f9c2a71b04e"} 1 1700000000.500000
 *     excguard_hits_created{target="mail"} 1600000000.000
 *
 * The parts behind the value (the exemplar and the line of the creation time) are those of OpenMetrics.
 * https://prometheus.io/docs/instrumenting/exposition_formats/,
 * https://prometheus.io/docs/specs/om/open_metrics_spec/
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

/* The samples of a family that have the same name, and what precedes them. */
struct excguard_samples {
    const char *head; /* written first: the lines HELP and TYPE, or samples that are text already */
    uint32_t head_size;
    uint32_t name_size;   /* of the name at the beginning of each start */
    const char *starts;   /* of all lines in turn, each as `name{label="value"} `; escaped */
    const uint32_t *ends; /* where each of them ends */
    const uint64_t *values;
    uint32_t count;
    uint32_t decimals;        /* how many digits of the values stand behind the point, 18 at most */
    const char *created_name; /* NULL: no creation times; samples of value 0 never have one */
    const char *created;
    const struct excguard_exemplar *exemplars; /* NULL: none */
};

/* How many bytes excguard_samples_write writes at most. */
size_t excguard_samples_size(const struct excguard_samples *const *families, uint32_t count);

/* Writes the text of all families to `out`, without a NUL at the end; how many bytes it has. */
size_t excguard_samples_write(const struct excguard_samples *const *families, uint32_t count, char *out);

#endif
