/*
 * What only the simulator has: ways to bring about what a real kernel does on its own, and to look inside. A
 * program that includes this header does not run on macOS.
 */
#ifndef _EXCSIM_H_
#define _EXCSIM_H_

#include <stdint.h>

#include <mach/mach.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * Raises EXC_GUARD with this code and subcode in the calling thread, by the delivery rules of its guard type
 * and flavor, and returns when the handlers are done with it: the process may be dead by then. KERN_SUCCESS:
 * it was delivered and handled; KERN_FAILURE: it was delivered, no handler took it; KERN_ABORTED: the task's
 * flags or Developer Mode kept it back.
 */
extern kern_return_t excsim_raise(uint64_t code, uint64_t subcode);

/* The same, `count` times in a row, with no round trip to this process between them. */
extern kern_return_t excsim_raise_many(uint64_t code, uint64_t subcode, uint64_t count);

/*
 * Raises any other exception (EXC_BAD_ACCESS ...): handlers of the task, then the host; unhandled it kills
 * the process.
 */
extern kern_return_t excsim_raise_exception(exception_type_t exception, uint64_t code, uint64_t subcode);

/*
 * Levels of com.apple.security.hardened-process.platform-restrictions: 0 an ordinary process, 1 and 2
 * hardened ones. A hardened process gets fatal guards for MP_FATAL flavors and must use identity-protected
 * exception behaviors. For the calling task and those it starts; it can only rise (KERN_INVALID_ARGUMENT
 * otherwise). A program that finds a level in the environment variable EXCSIM_HARDENED has it from its start,
 * as others have it from their entitlements. With EXCSIM_ONE_EXCEPTION_PORT beside it, the entitlement
 * com.apple.security.only-one-exception-port is simulated as well.
 */
extern kern_return_t excsim_harden(int level);

/*
 * What kind of process the calling task is, as far as the rules of ports go by it; the kinds combine. For the
 * task and those it starts; it can only gain kinds.
 */
enum excsim_policy {
    EXCSIM_HARDENED_RUNTIME = 0x1,   /* signed with the hardened runtime (CS_RUNTIME) */
    EXCSIM_ENHANCED_1 = 0x2,         /* platform-restrictions 1, as excsim_harden(1) */
    EXCSIM_ENHANCED_2 = 0x4,         /* platform-restrictions 2, as excsim_harden(2) */
    EXCSIM_PLATFORM = 0x8,           /* one of Apple's platform binaries */
    EXCSIM_OF_SIMULATOR = 0x10,      /* built for one of Xcode's simulators */
    EXCSIM_OPTED_OUT = 0x20,         /* of Mach hardening, by its entitlement */
    EXCSIM_LAUNCHD_COALITION = 0x40, /* may make service ports */
    EXCSIM_ENTITLED = 0x80,          /* has every entitlement that is asked for */
    EXCSIM_LAUNCHD = 0x100,          /* is launchd itself */
};
extern kern_return_t excsim_set_policy(uint32_t policy);

/*
 * mach_port_deallocate_kernel(), which fork(2) alone calls: releases a user reference of a name whose port
 * has that type (IOT_ of osfmk/ipc/ipc_types.h, 0xff for any).
 */
extern kern_return_t excsim_deallocate_kernel(mach_port_name_t name, uint32_t type);

/* What the calling task's name space holds. */
struct excsim_space_census {
    uint32_t names;     /* all entries */
    uint32_t receive;   /* entries with a receive right */
    uint32_t send;      /* entries with send rights */
    uint32_t send_once; /* send-once entries */
    uint32_t port_sets;
    uint32_t dead_names;
    uint64_t send_urefs; /* user references of all send rights */
};
extern kern_return_t excsim_space_census(struct excsim_space_census *census);

/* What the whole kernel holds: to show that nothing leaks. */
struct excsim_kernel_census {
    uint64_t tasks;
    uint64_t threads;
    uint64_t ports;
    uint64_t messages;      /* queued */
    uint64_t message_bytes; /* queued */
    uint64_t exceptions;    /* raised since the start */
    uint64_t crash_reports; /* of excsim_crash_report, since the start */
    uint64_t log_lines;     /* of excsim_log_line, since the start */
};
extern kern_return_t excsim_kernel_census(struct excsim_kernel_census *census);

/*
 * What ReportCrash would have written: a real crash report for a process that died of an unhandled exception
 * (fatal), a simulated one for a guard that lets the process live.
 */
struct excsim_crash_report {
    uint64_t thread_id;
    uint64_t code;
    uint64_t subcode;
    int32_t pid;
    int32_t exception;
    int32_t fatal;
    int32_t reserved; /* 0 */
};
/*
 * Report number `index`, from 0 (the newest 4096 are kept). KERN_NOT_FOUND past the last,
 * KERN_INVALID_ARGUMENT before the oldest kept.
 */
extern kern_return_t excsim_crash_report(uint64_t index, struct excsim_crash_report *report);

/* What the kernel writes to the unified log: a line for each guard that is raised, since macOS 26. */
enum { EXCSIM_LOG_LINE = 192 };
/*
 * Line number `index`, from 0 (the newest 256 are kept), with a NUL behind it. Errors as
 * excsim_crash_report's.
 */
extern kern_return_t excsim_log_line(uint64_t index, char line[EXCSIM_LOG_LINE]);

/* Who signed a program, by the class of the certificate. */
enum excsim_certificate {
    EXCSIM_AD_HOC,       /* no signer: the signature has an identifier and no certificate */
    EXCSIM_DEVELOPER_ID, /* the team, for distribution outside of the App Store */
    EXCSIM_APP_STORE,    /* Apple, so the certificate does not name the team */
    EXCSIM_DEVELOPMENT,  /* the team, for its own machines */
};

/*
 * Gives the program that the calling task runs a code signature; a program starts without one. It stays over
 * fork and goes with exec. The Security framework's functions, which dlsym finds here too, answer by it.
 * KERN_INVALID_ARGUMENT: an identifier of 128 bytes or more, a team of 32 or more, a certificate that is
 * none.
 */
extern kern_return_t excsim_sign(const char *identifier, const char *team,
                                 enum excsim_certificate certificate);

/*
 * Plays the kernel's part of IOT types: pins the last send right of a port of this task. A program that finds
 * the environment variable EXCSIM_PINNED has that of its own task pinned from its start, as the boot argument
 * ipc_control_port_options makes a Mac do (ICP_OPTIONS_PINNED_3P_SOFT, osfmk/ipc/ipc_init.h,
 * xnu-11417.121.6).
 */
extern kern_return_t excsim_pin(mach_port_name_t name);

/*
 * A preloaded library may define this; it is called before each call to the kernel with the address that the
 * call returns to. The loader of this system calls no function when it has loaded a library, as dyld does
 * (_dyld_register_func_for_add_image), so this is where such a library learns of it before the new code can
 * break a rule. Calls that it makes call it again.
 */
extern void excsim_will_call(uint64_t caller) __attribute__((weak, visibility("default")));

#ifdef __cplusplus
}
#endif

#endif
