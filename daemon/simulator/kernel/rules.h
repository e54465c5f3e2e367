/*
 * What differs between releases of the kernel: a rule holds from one release on, or up to one. rules.c has
 * the ranges and where each was read.
 */
#ifndef EXCSIM_RULES_H
#define EXCSIM_RULES_H

#include <stdbool.h>

enum rule {
    RULE_NAMES_CHECKED,
    RULE_DEAD_NAMES_AT_ONCE,
    RULE_GUARDS_OF_MEMBERS,
    RULE_FORMER_RECEIVERS_ARE_NO_SETS,
    RULE_THROTTLED,
    RULE_SERVICES_RETURN_TO_LAUNCHD,
    RULE_DEAD_IS_NO_NAME,
    RULE_FULL_SPACE_ENDS,
    RULE_KEPT_CONTROL_PORTS,
    RULE_OBJECT_NUMBERS,
    RULE_REPLY_PORTS,
    RULE_REPLY_PORTS_OF_HARDENED,
    RULE_REPLY_PORTS_ENFORCED,
    RULE_CALLS_MATCH_PORTS,
    RULE_FLAGS_EXCLUDE,
    RULE_BODY_FIRST,
    RULE_SMALL_BUFFER_IS_INVALID,
    RULE_HEADER_VALIDATED_FIRST,
    RULE_OPTIONS_IN_PAYLOAD,
    RULE_CONTEXT_IN_PAYLOAD,
    RULE_GUARDED_IS_DESTROY,
    RULE_PINNED_TASK_PORTS,
    RULE_REASONS,
    RULE_PORT_TYPES,
    RULE_WEAK_REPLY_PORTS_ENTITLED,
    RULE_COUNT,
};

void rules_init(void); /* after release_parse */
bool rule(enum rule rule);

#endif
