/* Which macOS is simulated, and what it says of itself. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "kernel.h"

struct settings settings = {
#if defined(__aarch64__)
    .arch = ARCH_ARM64,
#else
    .arch = ARCH_X86_64,
#endif
    .developer_mode = true,
    .port_table_size = SPACE_SIZE_MAX,
    .guard_default = TASK_EXC_GUARD_MP_DELIVER | TASK_EXC_GUARD_VM_DELIVER,
};

bool release_parse(const char *text) {
    unsigned part[3] = {0, 0, 0};
    int end = 0;
    for (int at = 0; at < 3; at++) {
        int used = 0;
        if (text[end] < '0' || text[end] > '9' || sscanf(text + end, "%2u%n", &part[at], &used) != 1) {
            return false;
        }
        end += used;
        if (text[end] != '.') {
            break;
        }
        end++;
    }
    if (text[end] != '\0' || text[end - 1] == '.' || part[0] < 10 || (part[0] == 10 && part[1] < 9)) {
        return false;
    }
    settings.release = part[0] * 10000 + part[1] * 100 + part[2];
    snprintf(settings.release_text, sizeof settings.release_text, "%s", text);
    return true;
}

/*
 * Darwin counted on: 10.9 was 13, 11 was 20, 15 was 24, 26 is 25; since 27 it has macOS's number. Its minor
 * number is macOS's here, near the truth.
 */
static void darwin_version(char *text, size_t room) {
    uint32_t major = settings.release / 10000, minor = settings.release / 100 % 100;
    if (major == 10) {
        snprintf(text, room, "%" PRIu32 ".0.0", minor + 4);
    } else {
        uint32_t darwin = major < 26 ? major + 9 : major == 26 ? 25 : major;
        snprintf(text, room, "%" PRIu32 ".%" PRIu32 ".0", darwin, minor);
    }
}

bool release_sysctl(const char *name, void *value, size_t *size) {
    char text[128];
    int32_t number = -1;
    if (!strcmp(name, "kern.osproductversion")) {
        snprintf(text, sizeof text, "%s", settings.release_text);
    } else if (!strcmp(name, "kern.osversion")) {
        snprintf(text, sizeof text, "%s-simulated", settings.release_text);
    } else if (!strcmp(name, "kern.ostype")) {
        snprintf(text, sizeof text, "Darwin");
    } else if (!strcmp(name, "kern.osrelease")) {
        darwin_version(text, sizeof text);
    } else if (!strcmp(name, "kern.version")) {
        snprintf(text, sizeof text, "excguard simulated kernel, in the place of macOS %s",
                 settings.release_text);
    } else if (!strcmp(name, "kern.task_exc_guard_default")) {
        /*
         * Hardened tasks in the low byte, all others in the next (TASK_EXC_GUARD_THIRD_PARTY_DEFAULT_SHIFT).
         */
        number = (int32_t)(HARDENED_FLAGS | settings.guard_default << 8);
    } else if (!strcmp(name, "machdep.max_port_table_size") && rule(RULE_FULL_SPACE_ENDS)) {
        number = (int32_t)settings.port_table_size;
    } else if (!strcmp(name, "hw.optional.arm64") && settings.arch == ARCH_ARM64) {
        number = 1;
    } else if (!strcmp(name, "security.mac.amfi.developer_mode_status") && rule(RULE_DEVELOPER_MODE)) {
        number = settings.developer_mode;
    } else {
        return false;
    }
    const void *bytes = number >= 0 ? (const void *)&number : text;
    size_t needed = number >= 0 ? sizeof number : strlen(text) + 1;
    if (*size >= needed) {
        memcpy(value, bytes, needed);
    }
    *size = *size >= needed ? needed : 0;
    return true;
}
