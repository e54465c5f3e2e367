/*
 * Prints, as one JSON object, what the kernel holds and what ReportCrash and the unified log would have got.
 */
#include <excsim.h>
#include <stdio.h>

int main(void) {
    struct excsim_kernel_census census;
    struct excsim_crash_report report;
    if (excsim_kernel_census(&census)) {
        return 1;
    }
    printf("{\"tasks\": %llu, \"threads\": %llu, \"ports\": %llu, \"messages\": %llu, \"message_bytes\": "
           "%llu, \"exceptions\": %llu, \"reports\": [",
           (unsigned long long)census.tasks, (unsigned long long)census.threads,
           (unsigned long long)census.ports, (unsigned long long)census.messages,
           (unsigned long long)census.message_bytes, (unsigned long long)census.exceptions);
    const char *separator = "";
    for (uint64_t index = 0; index < census.crash_reports; index++) {
        if (excsim_crash_report(index, &report)) {
            continue; /* too old */
        }
        printf("%s{\"pid\": %d, \"thread\": %llu, \"code\": %llu, \"subcode\": %llu, \"exception\": %d, "
               "\"fatal\": %d}",
               separator, report.pid, (unsigned long long)report.thread_id, (unsigned long long)report.code,
               (unsigned long long)report.subcode, report.exception, report.fatal);
        separator = ", ";
    }
    printf("], \"log\": [");
    separator = "";
    for (uint64_t index = 0; index < census.log_lines; index++) {
        char line[EXCSIM_LOG_LINE];
        if (excsim_log_line(index, line)) {
            continue;
        }
        printf("%s\"%s\"", separator, line); /* the names of the test programs need no escapes */
        separator = ", ";
    }
    printf("]}\n");
    return 0;
}
