/*
 * How severe a guard is, for the core and for the simulator: what the kernel does to the process.
 * The same numbers are the order of excguard.knowledge.severity; tests/knowledge/test_severity.py compares
 * them.
 */
#ifndef EXCGUARD_SEVERITY_H
#define EXCGUARD_SEVERITY_H

enum excguard_severity {
    EXCGUARD_SEVERITY_UNKNOWN = 0,  /* a guard type in no table */
    EXCGUARD_SEVERITY_SOFT = 1,     /* never kills */
    EXCGUARD_SEVERITY_OPTIONAL = 2, /* kills when the task's flags say so */
    EXCGUARD_SEVERITY_FATAL = 3,    /* always kills */
};

#endif
