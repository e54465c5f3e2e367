/* Prints, as one JSON object, what the kernel holds and what ReportCrash would have written. */
#include <excsim.h>
#include <stdio.h>

int main(void) {
    struct excsim_kernel_census census;
    struct excsim_crash_report report;
    if (excsim_kernel_census(&census))
        return 1;
    printf("{\"tasks\": %llu, \"threads\": %llu, \"ports\": %llu, \"messages\": %llu, \"message_bytes\": %llu, \"exceptions\": %llu, \"reports\": [",
           (unsigned long long)census.tasks, (unsigned long long)census.threads, (unsigned long long)census.ports,
           (unsigned long long)census.messages, (unsigned long long)census.message_bytes, (unsigned long long)census.exceptions);
    for (uint64_t index = 0; index < census.crash_reports; index++) {
        if (excsim_crash_report(index, &report))
            continue;
        printf("%s{\"pid\": %d, \"thread\": %llu, \"code\": %llu, \"subcode\": %llu, \"exception\": %d, \"fatal\": %d}",
               index ? ", " : "", report.pid, (unsigned long long)report.thread_id, (unsigned long long)report.code,
               (unsigned long long)report.subcode, report.exception, report.fatal);
    }
    printf("]}\n");
    return 0;
}
