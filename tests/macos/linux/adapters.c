/*
 * What a macOS dylib finds in place of libSystem when it runs in a Linux process (macho_loader.py).
 *
 * Mach: the simulator's client library, which is linked into this shared object; every function has Apple's
 * name. libc: by the tables below and no other way, so that nothing is bound to a function of another meaning
 * by accident. First those that need translating, each with the difference; then those that are the same in
 * both systems for x86_64: arguments, structs and constants.
 */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <mach/mach.h>
#include <spawn.h>

#define EXPORT __attribute__((visibility("default")))

/*
 * What macOS means by these names. A test compiles this part with Apple's headers and compares
 * (test_execution.py, test_the_adapters_know_macos).
 */
#define DARWIN_EDEADLK 11
#define DARWIN_EAGAIN 35
#define DARWIN_EINPROGRESS 36
#define DARWIN_EALREADY 37
#define DARWIN_ENOTSOCK 38
#define DARWIN_EMSGSIZE 40
#define DARWIN_ETIMEDOUT 60
#define DARWIN_ELOOP 62
#define DARWIN_ENAMETOOLONG 63
#define DARWIN_ENOTEMPTY 66
#define DARWIN_EDQUOT 69
#define DARWIN_ESTALE 70
#define DARWIN_ENOLCK 77
#define DARWIN_ENOSYS 78
#define DARWIN_EOVERFLOW 84
#define DARWIN_ECANCELED 89
#define DARWIN_EPROTO 100
#define DARWIN_EOPNOTSUPP 102
#define DARWIN_O_NONBLOCK 0x0004
#define DARWIN_O_APPEND 0x0008
#define DARWIN_O_NOFOLLOW 0x0100
#define DARWIN_O_CREAT 0x0200
#define DARWIN_O_TRUNC 0x0400
#define DARWIN_O_EXCL 0x0800
#define DARWIN_O_DIRECTORY 0x100000
#define DARWIN_O_CLOEXEC 0x1000000
#define DARWIN_SEEK_HOLE 3
#define DARWIN_SEEK_DATA 4
#define DARWIN_MAP_SHARED 0x0001
#define DARWIN_MAP_PRIVATE 0x0002
#define DARWIN_MAP_FIXED 0x0010
#define DARWIN_MAP_ANON 0x1000
#define DARWIN_CLOCK_REALTIME 0
#define DARWIN_CLOCK_MONOTONIC_RAW 4
#define DARWIN_CLOCK_MONOTONIC 6
#define DARWIN_SIG_BLOCK 1
#define DARWIN_SIG_UNBLOCK 2
#define DARWIN_SIG_SETMASK 3
#define DARWIN_PTHREAD_MUTEX_SIGNATURE 0x32AAABA7 /* pthread_impl.h: _PTHREAD_MUTEX_SIG_init */
#define DARWIN_PTHREAD_ONCE_SIGNATURE 0x30B1BCBA  /* pthread_impl.h: _PTHREAD_ONCE_SIG_init */
#define DARWIN_RTLD_DEFAULT -2
#define DARWIN_RTLD_LAZY 1
#define DARWIN_RTLD_LOCAL 4
#define DARWIN_WCONTINUED 0x10
#define DARWIN_WNOWAIT 0x20
#define DARWIN_SIGBUS 10
#define DARWIN_SA_ONSTACK 0x1
#define DARWIN_SC_PAGESIZE 29

/* What the functions under SAME below take for granted: the number is one in both systems. */
#define SAME_O_ACCMODE 3
#define SAME_LOCK_EX 2
#define SAME_LOCK_NB 4
#define SAME_SEEK_SET 0
#define SAME_SEEK_CUR 1
#define SAME_SEEK_END 2
#define SAME_PROT_READ 1
#define SAME_PROT_WRITE 2
#define SAME_P_PID 1
#define SAME_WNOHANG 1
#define SAME_WEXITED 4
#define SAME_EINTR 4
#define SAME_EIO 5
#define SAME_ENOMEM 12
#define SAME_EACCES 13
#define SAME_EEXIST 17
#define SAME_ENOSPC 28

/* struct stat with 64-bit inode numbers (sys/stat.h, __DARWIN_STRUCT_STAT64). */
struct darwin_stat {
    int32_t st_dev;
    uint16_t st_mode;
    uint16_t st_nlink;
    uint64_t st_ino;
    uint32_t st_uid;
    uint32_t st_gid;
    int32_t st_rdev;
    struct timespec st_atimespec, st_mtimespec, st_ctimespec, st_birthtimespec;
    int64_t st_size;
    int64_t st_blocks;
    int32_t st_blksize;
    uint32_t st_flags;
    uint32_t st_gen;
    int32_t st_lspare;
    int64_t st_qspare[2];
};

/* The least room that macOS's opaque types have for Linux's (sys/_pthread/_pthread_types.h). */
struct darwin_opaque {
    char pthread_t_[8];
    char pthread_attr_t_[64];
    char pthread_mutex_t_[64];
    char sigset_t_[4];
};
/* ---- end of what is compared ---- */

/* ---- errno: 11 and what lies above 34 differ ---- */

#define BOTH(name) {name, DARWIN_##name}

static const struct {
    int here;
    int darwin;
} errors[] = {
    BOTH(EAGAIN),     BOTH(EDEADLK),   BOTH(EINPROGRESS), BOTH(EALREADY),     BOTH(ENOTSOCK),  BOTH(EMSGSIZE),
    BOTH(EOPNOTSUPP), BOTH(ETIMEDOUT), BOTH(ELOOP),       BOTH(ENAMETOOLONG), BOTH(ENOTEMPTY), BOTH(EDQUOT),
    BOTH(ESTALE),     BOTH(ENOLCK),    BOTH(ENOSYS),      BOTH(EOVERFLOW),    BOTH(ECANCELED), BOTH(EPROTO),
};

static int to_darwin(int number) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (errors[i].here == number) {
            return errors[i].darwin;
        }
    }
    return number;
}

static int from_darwin(int number) {
    for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
        if (errors[i].darwin == number) {
            return errors[i].here;
        }
    }
    return number;
}

/*
 * errno as the dylib sees it. Its calls fail in Linux's numbers, so each look takes the number that is there
 * and leaves in its place the mark that it was taken: what the dylib stores is then what it reads, until
 * another call fails.
 */
#define TAKEN 0x7ead
static __thread int darwin_errno;

static int *darwin_error(void) {
    if (errno != TAKEN) {
        darwin_errno = to_darwin(errno);
        errno = TAKEN;
    }
    return &darwin_errno;
}

static char *darwin_strerror(int number) {
    return strerror(from_darwin(number));
}

/* ---- files ---- */

static int darwin_open(const char *path, int flags, ...) {
    static const struct {
        int here;
        int darwin;
    } bits[] = {
        BOTH(O_NONBLOCK), BOTH(O_APPEND), BOTH(O_NOFOLLOW),  BOTH(O_CREAT),
        BOTH(O_TRUNC),    BOTH(O_EXCL),   BOTH(O_DIRECTORY), BOTH(O_CLOEXEC),
    };
    int translated = flags & O_ACCMODE;
    flags &= ~O_ACCMODE;
    for (size_t i = 0; i < sizeof bits / sizeof *bits; i++) {
        if (flags & bits[i].darwin) {
            translated |= bits[i].here;
            flags &= ~bits[i].darwin;
        }
    }
    if (flags != 0) {
        fprintf(stderr, "adapters.c: open: no translation for flags 0x%x\n", flags);
        abort();
    }
    va_list arguments;
    va_start(arguments, flags);
    mode_t mode = translated & O_CREAT ? va_arg(arguments, mode_t) : 0;
    va_end(arguments);
    return open(path, translated, mode);
}

static int darwin_fstat(int fd, struct darwin_stat *out) {
    struct stat here;
    if (fstat(fd, &here) != 0) {
        return -1;
    }
    memset(out, 0, sizeof *out);
    out->st_dev = (int32_t)here.st_dev;
    out->st_mode = (uint16_t)here.st_mode; /* the S_IF bits are the same */
    out->st_nlink = (uint16_t)here.st_nlink;
    out->st_ino = here.st_ino;
    out->st_uid = here.st_uid;
    out->st_gid = here.st_gid;
    out->st_rdev = (int32_t)here.st_rdev;
    out->st_atimespec = here.st_atim;
    out->st_mtimespec = here.st_mtim;
    out->st_ctimespec = here.st_ctim;
    out->st_size = here.st_size;
    out->st_blocks = here.st_blocks;
    out->st_blksize = (int32_t)here.st_blksize;
    return 0;
}

static void *darwin_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset) {
    int same = DARWIN_MAP_SHARED | DARWIN_MAP_PRIVATE | DARWIN_MAP_FIXED;
    if (flags & ~(same | DARWIN_MAP_ANON)) {
        fprintf(stderr, "adapters.c: mmap: no translation for flags 0x%x\n", flags);
        abort();
    }
    return mmap(address, size, protection, (flags & same) | (flags & DARWIN_MAP_ANON ? MAP_ANONYMOUS : 0), fd,
                offset);
}
_Static_assert(MAP_SHARED == DARWIN_MAP_SHARED && MAP_PRIVATE == DARWIN_MAP_PRIVATE &&
                   MAP_FIXED == DARWIN_MAP_FIXED,
               "");

/* Linux has these two the other way round. */
static off_t darwin_lseek(int fd, off_t offset, int whence) {
    return lseek(fd, offset,
                 whence == DARWIN_SEEK_HOLE   ? SEEK_HOLE
                 : whence == DARWIN_SEEK_DATA ? SEEK_DATA
                                              : whence);
}

/* ---- time ---- */

static int darwin_clock_gettime(int clock, struct timespec *out) {
    switch (clock) {
    case DARWIN_CLOCK_REALTIME:
        return clock_gettime(CLOCK_REALTIME, out);
    case DARWIN_CLOCK_MONOTONIC_RAW:
        return clock_gettime(CLOCK_MONOTONIC_RAW, out);
    case DARWIN_CLOCK_MONOTONIC:
        return clock_gettime(CLOCK_MONOTONIC, out);
    default:
        fprintf(stderr, "adapters.c: clock_gettime: no translation for clock %d\n", clock);
        abort();
    }
}

/* ---- threads ---- */

/*
 * Linux's functions keep theirs in macOS's opaque types, which are large enough. Only a static initializer
 * must be undone: it begins with a signature.
 */
_Static_assert(sizeof(pthread_t) <= sizeof((struct darwin_opaque *)0)->pthread_t_ &&
                   sizeof(pthread_attr_t) <= sizeof((struct darwin_opaque *)0)->pthread_attr_t_ &&
                   sizeof(pthread_mutex_t) <= sizeof((struct darwin_opaque *)0)->pthread_mutex_t_,
               "");

static pthread_mutex_t *mutex_here(void *mutex) {
    static pthread_mutex_t first_use = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&first_use);
    if (*(long *)mutex == DARWIN_PTHREAD_MUTEX_SIGNATURE) {
        pthread_mutex_init(mutex, NULL);
    }
    pthread_mutex_unlock(&first_use);
    return mutex;
}

static int darwin_mutex_lock(void *mutex) {
    return pthread_mutex_lock(mutex_here(mutex));
}

static int darwin_mutex_unlock(void *mutex) {
    return pthread_mutex_unlock(mutex_here(mutex));
}

/* A pthread_once_t begins with a signature too, and Linux's with 0. */
static int darwin_once(void *once, void (*routine)(void)) {
    static pthread_mutex_t first_use = PTHREAD_MUTEX_INITIALIZER;
    pthread_mutex_lock(&first_use);
    if (*(long *)once == DARWIN_PTHREAD_ONCE_SIGNATURE) {
        *(long *)once = PTHREAD_ONCE_INIT;
    }
    pthread_mutex_unlock(&first_use);
    return pthread_once(once, routine);
}

/* Names the calling thread; Linux wants it said which, and at most 15 bytes. */
static int darwin_setname(const char *name) {
    char cut[16];
    snprintf(cut, sizeof cut, "%s", name);
    return pthread_setname_np(pthread_self(), cut);
}

/*
 * A sigset_t is 32 bits there (sys/_types/_sigset_t.h). The signal numbers in it come from Python's signal
 * module, so they are this system's already.
 */
static void signals_here(const uint32_t *set, sigset_t *out) {
    if (*set == UINT32_MAX) {
        sigfillset(out);
        return;
    }
    sigemptyset(out);
    for (int number = 1; number <= 32; number++) {
        if (*set & (1u << (number - 1))) {
            sigaddset(out, number);
        }
    }
}

static int darwin_sigmask(int how, const uint32_t *set, uint32_t *old) {
    sigset_t here, before;
    int result = 0;
    if (set != NULL) {
        signals_here(set, &here);
    }
    result = pthread_sigmask(how == DARWIN_SIG_BLOCK     ? SIG_BLOCK
                             : how == DARWIN_SIG_UNBLOCK ? SIG_UNBLOCK
                                                         : SIG_SETMASK,
                             set ? &here : NULL, &before);
    if (result == 0 && old != NULL) {
        *old = 0;
        for (int number = 1; number <= 32; number++) {
            *old |= sigismember(&before, number) == 1 ? 1u << (number - 1) : 0;
        }
    }
    return result;
}

static int darwin_spawn_setsigdefault(posix_spawnattr_t *attributes, const uint32_t *set) {
    sigset_t here;
    signals_here(set, &here);
    return posix_spawnattr_setsigdefault(attributes, &here);
}

static int darwin_spawn_setsigmask(posix_spawnattr_t *attributes, const uint32_t *set) {
    sigset_t here;
    signals_here(set, &here);
    return posix_spawnattr_setsigmask(attributes, &here);
}

/* ---- children ---- */

/* siginfo_t (sys/signal.h, macOS 26.4 SDK), as far as waitid fills it. */
struct darwin_siginfo {
    int signo, error, code, pid; /* each with si_ before it, which are macros here */
    uint32_t uid;
    int status;
    char others[80];
};
_Static_assert(sizeof(struct darwin_siginfo) == 104, "siginfo_t of macOS");

static int darwin_waitid(int kind, id_t id, struct darwin_siginfo *out, int options) {
    siginfo_t here = {0};
    int translated = (options & (SAME_WNOHANG | SAME_WEXITED)) |
                     (options & DARWIN_WCONTINUED ? WCONTINUED : 0) |
                     (options & DARWIN_WNOWAIT ? WNOWAIT : 0);
    int result = waitid((idtype_t)kind, id, &here, translated);
    if (result == 0) {
        out->signo = here.si_signo;
        out->code = here.si_code;
        out->pid = here.si_pid;
        out->uid = here.si_uid;
        out->status = here.si_status;
    }
    return result;
}

/* ---- the one signal that the core handles ---- */

/* struct sigaction (sys/signal.h, macOS 26.4 SDK). */
struct darwin_sigaction {
    void (*handler)(int number, void *info, void *context);
    uint32_t mask;
    int flags;
};
_Static_assert(sizeof(struct darwin_sigaction) == 16, "struct sigaction of macOS");

static struct sigaction bus_error_before; /* of this system, until the core has set its own */
static void (*bus_error)(int number, void *info, void *context);

static void bus_error_here(int number, siginfo_t *info, void *context) {
    struct darwin_siginfo there = {.signo = DARWIN_SIGBUS};
    (void)number;
    memcpy(there.others, &info->si_addr, sizeof info->si_addr); /* si_addr follows si_status */
    bus_error(DARWIN_SIGBUS, &there, context);
}

/* Sets a handler with SA_SIGINFO, and what was there before in its place. */
static int darwin_sigaction(int number, const struct darwin_sigaction *action, struct darwin_sigaction *old) {
    struct sigaction here;
    if (number != DARWIN_SIGBUS || action == NULL || action->mask != 0) {
        fprintf(stderr, "adapters.c: sigaction: no translation for signal %d\n", number);
        abort();
    }
    if (old != NULL) {
        if (sigaction(SIGBUS, NULL, &bus_error_before) != 0) {
            return -1;
        }
        memset(old, 0, sizeof *old);
        memcpy(&old->handler, &bus_error_before.sa_sigaction, sizeof old->handler);
    }
    if (memcmp(&action->handler, &bus_error_before.sa_sigaction, sizeof action->handler) == 0) {
        return sigaction(SIGBUS, &bus_error_before, NULL);
    }
    memset(&here, 0, sizeof here);
    bus_error = action->handler;
    here.sa_sigaction = bus_error_here;
    here.sa_flags = SA_SIGINFO | (action->flags & DARWIN_SA_ONSTACK ? SA_ONSTACK : 0);
    return sigaction(SIGBUS, &here, NULL);
}

static long darwin_sysconf(int name) {
    return name == DARWIN_SC_PAGESIZE ? sysconf(_SC_PAGESIZE) : -1;
}

/* ---- the rest ---- */

EXPORT void *macos_symbol(const char *name);

/* Of the Security framework and what it needs, which the simulator has. */
static void *framework;

static void *darwin_dlopen(const char *path, int mode) {
    if (mode != (DARWIN_RTLD_LAZY | DARWIN_RTLD_LOCAL)) {
        fprintf(stderr, "adapters.c: dlopen: no translation for mode 0x%x\n", mode);
        abort();
    }
    return framework = dlopen(path, RTLD_LAZY | RTLD_LOCAL);
}

/* Else only ever used to ask whether libSystem has a function. */
static void *darwin_dlsym(void *handle, const char *name) {
    char with_underscore[256];
    if (framework != NULL && handle == framework) {
        return dlsym(handle, name);
    }
    if (handle != (void *)DARWIN_RTLD_DEFAULT) {
        fprintf(stderr, "adapters.c: dlsym: no translation for handle %p\n", handle);
        abort();
    }
    snprintf(with_underscore, sizeof with_underscore, "_%s", name);
    return macos_symbol(with_underscore);
}

/* ---- images: those that macho_loader.py maps ---- */

enum { MAX_IMAGES = 8 };
typedef void (*image_callback)(const void *header, intptr_t slide);

static struct {
    const void *header;
    const char *path;
} images[MAX_IMAGES];
static size_t image_count;
static image_callback image_added;

/* An image was mapped at `header`, linked to be at 0. As in dyld the callback runs on the thread that loads
 * it. */
EXPORT void macos_image(const void *header, const char *path) {
    if (image_count == MAX_IMAGES) {
        abort();
    }
    images[image_count].header = header;
    images[image_count++].path = strdup(path);
    if (image_added != NULL) {
        image_added(header, (intptr_t)header);
    }
}

static void darwin_register_func_for_add_image(image_callback callback) {
    image_added = callback;
    for (size_t i = 0; i < image_count; i++) {
        callback(images[i].header, (intptr_t)images[i].header);
    }
}

/* The newest image there, and no symbol. Dl_info has the same members. */
static int darwin_dladdr(const void *address, Dl_info *info) {
    memset(info, 0, sizeof *info);
    for (size_t i = image_count; i-- > 0;) {
        if (images[i].header == address) {
            info->dli_fname = images[i].path;
            info->dli_fbase = (void *)(uintptr_t)address;
            return 1;
        }
    }
    return 0;
}

/* Lazy symbols are all bound at load, so nothing may come here. */
static void stub_binder(void) {
    fputs("adapters.c: dyld_stub_binder was called\n", stderr);
    abort();
}

static uintptr_t stack_guard = 0x595e9fbd94fda766;

static void stack_check_failed(void) {
    fputs("adapters.c: stack overflow detected in the dylib\n", stderr);
    abort();
}

/* The checks of _FORTIFY_SOURCE (secure/_string.h, secure/_stdio.h). */
static void *checked_memcpy(void *to, const void *from, size_t size, size_t room) {
    if (size > room) {
        abort();
    }
    return memcpy(to, from, size);
}

static void *checked_memmove(void *to, const void *from, size_t size, size_t room) {
    if (size > room) {
        abort();
    }
    return memmove(to, from, size);
}

static void *checked_memset(void *to, int value, size_t size, size_t room) {
    if (size > room) {
        abort();
    }
    return memset(to, value, size);
}

static int checked_snprintf(char *to, size_t size, int flags, size_t room, const char *format, ...) {
    (void)flags;
    if (size > room) {
        abort();
    }
    va_list arguments;
    va_start(arguments, format);
    int written = vsnprintf(to, size, format, arguments);
    va_end(arguments);
    return written;
}

static int checked_vsnprintf(char *to, size_t size, int flags, size_t room, const char *format,
                             va_list arguments) {
    (void)flags;
    if (size > room) {
        abort();
    }
    return vsnprintf(to, size, format, arguments);
}

#define ADAPTED(name, function) {name, (void *)(function)}
#define SAME(function) {"_" #function, (void *)(function)}

static const struct {
    const char *name;
    void *address;
} table[] = {
    ADAPTED("___error", darwin_error),
    ADAPTED("_strerror", darwin_strerror),
    ADAPTED("_open", darwin_open),
    ADAPTED("_fstat$INODE64", darwin_fstat),
    ADAPTED("_lseek", darwin_lseek),
    ADAPTED("_mmap", darwin_mmap),
    ADAPTED("_clock_gettime", darwin_clock_gettime),
    ADAPTED("_pthread_mutex_lock", darwin_mutex_lock),
    ADAPTED("_pthread_mutex_unlock", darwin_mutex_unlock),
    ADAPTED("_pthread_setname_np", darwin_setname),
    ADAPTED("_pthread_sigmask", darwin_sigmask),
    ADAPTED("_pthread_once", darwin_once),
    ADAPTED("_waitid", darwin_waitid),
    ADAPTED("_sigaction", darwin_sigaction),
    ADAPTED("_sysconf", darwin_sysconf),
    ADAPTED("_dlopen", darwin_dlopen),
    ADAPTED("_dlsym", darwin_dlsym),
    ADAPTED("_dladdr", darwin_dladdr),
    ADAPTED("__dyld_register_func_for_add_image", darwin_register_func_for_add_image),
    ADAPTED("dyld_stub_binder", stub_binder),
    ADAPTED("___stack_chk_guard", &stack_guard),
    ADAPTED("___stack_chk_fail", stack_check_failed),
    ADAPTED("___bzero", bzero),
    ADAPTED("___memcpy_chk", checked_memcpy),
    ADAPTED("___memmove_chk", checked_memmove),
    ADAPTED("___memset_chk", checked_memset),
    ADAPTED("___snprintf_chk", checked_snprintf),
    ADAPTED("___vsnprintf_chk", checked_vsnprintf),
    /* macOS's spawn, by the simulator: its headers give these names a prefix (sim/include/spawn.h). */
    ADAPTED("_posix_spawn", posix_spawn),
    ADAPTED("_posix_spawnp", posix_spawnp),
    ADAPTED("_posix_spawnattr_init", posix_spawnattr_init),
    ADAPTED("_posix_spawnattr_destroy", posix_spawnattr_destroy),
    ADAPTED("_posix_spawnattr_setflags", posix_spawnattr_setflags),
    ADAPTED("_posix_spawnattr_setpgroup", posix_spawnattr_setpgroup),
    ADAPTED("_posix_spawnattr_setsigdefault", darwin_spawn_setsigdefault),
    ADAPTED("_posix_spawnattr_setsigmask", darwin_spawn_setsigmask),
    ADAPTED("_posix_spawn_file_actions_init", posix_spawn_file_actions_init),
    ADAPTED("_posix_spawn_file_actions_destroy", posix_spawn_file_actions_destroy),
    ADAPTED("_posix_spawn_file_actions_addclose", posix_spawn_file_actions_addclose),
    ADAPTED("_posix_spawn_file_actions_adddup2", posix_spawn_file_actions_adddup2),
    ADAPTED("_posix_spawn_file_actions_addopen", posix_spawn_file_actions_addopen),
    ADAPTED("_posix_spawn_file_actions_addchdir_np", posix_spawn_file_actions_addchdir_np),

    SAME(aligned_alloc),
    SAME(calloc),
    SAME(close),
    SAME(flock),
    SAME(free),
    SAME(fsync),
    SAME(ftruncate),
    SAME(getenv),
    SAME(getpid),
    SAME(malloc),
    SAME(memcmp),
    SAME(memcpy),
    SAME(memmove),
    SAME(memset),
    SAME(munmap),
    SAME(nanosleep),
    SAME(pread),
    SAME(pthread_equal),
    SAME(pthread_create), /* a pthread_attr_t that Linux initialized, or NULL */
    SAME(pthread_join),
    SAME(pthread_mutex_destroy),
    SAME(pthread_mutex_init),
    SAME(pthread_self),
    SAME(pwrite),
    SAME(read),
    SAME(setenv),
    SAME(snprintf),
    SAME(sscanf),
    SAME(strcmp),
    SAME(strcspn),
    SAME(strlen),
    SAME(strncmp),
    SAME(strtol),
    SAME(unsetenv),
    SAME(vsnprintf), /* va_list is one type in the System V ABI */
    SAME(write),
};

/* The address of what a macOS dylib imports as `name` (with its leading underscore), or NULL. */
EXPORT void *macos_symbol(const char *name) {
    for (size_t i = 0; i < sizeof table / sizeof *table; i++) {
        if (strcmp(table[i].name, name) == 0) {
            return table[i].address;
        }
    }
    if (name[0] != '_') {
        return NULL;
    }
    /* Mach: whatever the simulator's library, in this object, exports; never a function of libc's. */
    Dl_info ours, found;
    dladdr(table, &ours);
    void *self = dlopen(ours.dli_fname, RTLD_NOW | RTLD_NOLOAD);
    void *address = dlsym(self, name + 1);
    dlclose(self);
    if (address == NULL || dladdr(address, &found) == 0 || found.dli_fbase != ours.dli_fbase) {
        return NULL;
    }
    return address;
}
