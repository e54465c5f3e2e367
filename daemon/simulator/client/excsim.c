/* excsim.h */
#include "excsim.h"

#include <string.h>

#include "connection.h"

kern_return_t excsim_raise(uint64_t code, uint64_t subcode) {
    return CALL(WIRE_RAISE, EXC_GUARD, code, subcode, 1).result;
}

kern_return_t excsim_raise_many(uint64_t code, uint64_t subcode, uint64_t count) {
    return CALL(WIRE_RAISE, EXC_GUARD, code, subcode, count).result;
}

kern_return_t excsim_raise_exception(exception_type_t exception, uint64_t code, uint64_t subcode) {
    return CALL(WIRE_RAISE, (uint32_t)exception, code, subcode, 1).result;
}

kern_return_t excsim_harden(int level) {
    return CALL(WIRE_HARDEN, (uint32_t)level).result;
}

kern_return_t excsim_set_policy(uint32_t policy) {
    return CALL(WIRE_POLICY, policy).result;
}

kern_return_t excsim_deallocate_kernel(mach_port_name_t name, uint32_t type) {
    return CALL(WIRE_PORT_DEALLOCATE_KERNEL, mach_task_self_, name, type).result;
}

kern_return_t excsim_pin(mach_port_name_t name) {
    return CALL(WIRE_PIN, name).result;
}

kern_return_t excsim_sign(const char *identifier, const char *team, enum excsim_certificate certificate) {
    struct wire_signature signature = {.certificate = certificate};
    if (strlen(identifier) >= sizeof signature.identifier || strlen(team) >= sizeof signature.team ||
        certificate > EXCSIM_DEVELOPMENT) {
        return KERN_INVALID_ARGUMENT;
    }
    memcpy(signature.identifier, identifier, strlen(identifier));
    memcpy(signature.team, team, strlen(team));
    return connection_call(CALL_SITE, WIRE_SIGN, ARGS(0), &signature, sizeof signature, 0).result;
}

static kern_return_t copy(struct answer answer, void *out, size_t size) {
    if (answer.result == KERN_SUCCESS) {
        memcpy(out, answer.payload, size);
    }
    return answer.result;
}

kern_return_t excsim_space_census(struct excsim_space_census *census) {
    return copy(CALL(WIRE_SPACE_CENSUS, 0), census, sizeof *census);
}

kern_return_t excsim_kernel_census(struct excsim_kernel_census *census) {
    return copy(CALL(WIRE_KERNEL_CENSUS, 0), census, sizeof *census);
}

kern_return_t excsim_log_line(uint64_t index, char line[EXCSIM_LOG_LINE]) {
    return copy(CALL(WIRE_LOG_LINE, index), line, EXCSIM_LOG_LINE);
}

kern_return_t excsim_crash_report(uint64_t index, struct excsim_crash_report *report) {
    return copy(CALL(WIRE_CRASH_REPORT, index), report, sizeof *report);
}
