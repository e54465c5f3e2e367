/*
 * What a macOS dylib finds in place of libSystem when it runs in a Linux process (macho_loader.py).
 *
 * Mach: the simulator's client library, which is linked into this shared object; every function has Apple's name.
 * libc: by the tables below and no other way, so that nothing is bound to a function of another meaning by accident.
 * First those that need translating, each with the difference; then those that are the same in both systems for
 * x86_64: arguments, structs and constants.
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
#include <time.h>
#include <unistd.h>

#include <mach/mach.h>
#include <spawn.h>

#define EXPORT __attribute__((visibility("default")))

/* ---- errno: numbers above 34 differ (sys/errno.h, macOS 26.4 SDK) ---- */

static const struct {
	int here;
	int darwin;
} errors[] = {
	{ EAGAIN, 35 },	     { EDEADLK, 11 },	   { EINPROGRESS, 36 }, { EALREADY, 37 },  { ENOTSOCK, 38 },
	{ EMSGSIZE, 40 },    { EOPNOTSUPP, 102 },  { ETIMEDOUT, 60 },	{ ELOOP, 62 },	   { ENAMETOOLONG, 63 },
	{ ENOTEMPTY, 66 },   { EDQUOT, 69 },	   { ESTALE, 70 },	{ ENOLCK, 77 },	   { ENOSYS, 78 },
	{ EOVERFLOW, 84 },   { ECANCELED, 89 },	   { EPROTO, 100 },
};

static int to_darwin(int number)
{
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		if (errors[i].here == number) {
			return errors[i].darwin;
		}
	}
	return number;
}

static int from_darwin(int number)
{
	for (size_t i = 0; i < sizeof errors / sizeof *errors; i++) {
		if (errors[i].darwin == number) {
			return errors[i].here;
		}
	}
	return number;
}

/*
 * errno as the dylib sees it. Its calls fail in Linux's numbers, so each look takes the number that is there and leaves
 * in its place the mark that it was taken: what the dylib stores is then what it reads, until another call fails.
 */
#define TAKEN 0x7ead
static __thread int darwin_errno;

static int *darwin_error(void)
{
	if (errno != TAKEN) {
		darwin_errno = to_darwin(errno);
		errno = TAKEN;
	}
	return &darwin_errno;
}

static char *darwin_strerror(int number)
{
	return strerror(from_darwin(number));
}

/* ---- files ---- */

/* Flags of open (sys/fcntl.h, macOS 26.4 SDK). */
static int darwin_open(const char *path, int flags, ...)
{
	static const struct {
		int darwin;
		int here;
	} bits[] = {
		{ 0x0004, O_NONBLOCK }, { 0x0008, O_APPEND }, { 0x0100, O_NOFOLLOW },	{ 0x0200, O_CREAT },
		{ 0x0400, O_TRUNC },	{ 0x0800, O_EXCL },   { 0x100000, O_DIRECTORY }, { 0x1000000, O_CLOEXEC },
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

/* struct stat with 64-bit inode numbers (sys/stat.h, __DARWIN_STRUCT_STAT64, macOS 26.4 SDK). */
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
_Static_assert(sizeof(struct darwin_stat) == 144, "struct stat of macOS");

static int darwin_fstat(int fd, struct darwin_stat *out)
{
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

/* MAP_SHARED, MAP_PRIVATE and MAP_FIXED are the same; MAP_ANON is not (sys/mman.h, macOS 26.4 SDK). */
static void *darwin_mmap(void *address, size_t size, int protection, int flags, int fd, off_t offset)
{
	int translated = (flags & 0x13) | (flags & 0x1000 ? MAP_ANONYMOUS : 0);
	if (flags & ~0x1013) {
		fprintf(stderr, "adapters.c: mmap: no translation for flags 0x%x\n", flags);
		abort();
	}
	return mmap(address, size, protection, translated, fd, offset);
}

/* SEEK_HOLE is 3 and SEEK_DATA 4 there, and the other way round here (unistd.h, macOS 26.4 SDK). */
static off_t darwin_lseek(int fd, off_t offset, int whence)
{
	return lseek(fd, offset, whence == 3 ? SEEK_HOLE : whence == 4 ? SEEK_DATA : whence);
}

/* ---- time ---- */

/* CLOCK_REALTIME is 0 in both, CLOCK_MONOTONIC 6 there (_time.h, macOS 26.4 SDK). */
static int darwin_clock_gettime(int clock, struct timespec *out)
{
	switch (clock) {
	case 0: return clock_gettime(CLOCK_REALTIME, out);
	case 6: return clock_gettime(CLOCK_MONOTONIC, out);
	default: fprintf(stderr, "adapters.c: clock_gettime: no translation for clock %d\n", clock); abort();
	}
}

/* ---- threads ---- */

/*
 * The opaque types are at least as large as Linux's (pthread_t, 8 bytes; pthread_mutex_t, 64; pthread_cond_t, 48;
 * pthread_attr_t, 64: sys/_pthread/_pthread_types.h, macOS 26.4 SDK), so Linux's functions can keep theirs in them. Only
 * a static initialiser must be undone: it begins with a signature (pthread_impl.h).
 */
_Static_assert(sizeof(pthread_mutex_t) <= 64 && sizeof(pthread_cond_t) <= 48 && sizeof(pthread_attr_t) <= 64, "");
#define DARWIN_MUTEX_SIGNATURE 0x32AAABA7l
#define DARWIN_COND_SIGNATURE 0x3CB0B1BBl

static pthread_mutex_t *mutex_here(void *mutex)
{
	static pthread_mutex_t first_use = PTHREAD_MUTEX_INITIALIZER;
	pthread_mutex_lock(&first_use);
	if (*(long *)mutex == DARWIN_MUTEX_SIGNATURE) {
		pthread_mutex_init(mutex, NULL);
	}
	pthread_mutex_unlock(&first_use);
	return mutex;
}

static int darwin_mutex_lock(void *mutex)
{
	return pthread_mutex_lock(mutex_here(mutex));
}

static int darwin_mutex_unlock(void *mutex)
{
	return pthread_mutex_unlock(mutex_here(mutex));
}

/* Names the calling thread; Linux wants it said which, and at most 15 bytes. */
static int darwin_setname(const char *name)
{
	char cut[16];
	snprintf(cut, sizeof cut, "%s", name);
	return pthread_setname_np(pthread_self(), cut);
}

/*
 * A sigset_t is 32 bits there (sys/_types/_sigset_t.h). The signal numbers in it come from Python's signal module, so they
 * are this system's already.
 */
static void signals_here(const uint32_t *set, sigset_t *out)
{
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

/* SIG_BLOCK 1, SIG_UNBLOCK 2, SIG_SETMASK 3 (sys/signal.h); the old set is never asked for by name of a signal. */
static int darwin_sigmask(int how, const uint32_t *set, uint32_t *old)
{
	sigset_t here, before;
	int result = 0;
	if (set != NULL) {
		signals_here(set, &here);
	}
	result = pthread_sigmask(how == 1 ? SIG_BLOCK : how == 2 ? SIG_UNBLOCK : SIG_SETMASK, set ? &here : NULL, &before);
	if (result == 0 && old != NULL) {
		*old = 0;
		for (int number = 1; number <= 32; number++) {
			*old |= sigismember(&before, number) == 1 ? 1u << (number - 1) : 0;
		}
	}
	return result;
}

static int darwin_spawn_setsigdefault(posix_spawnattr_t *attributes, const uint32_t *set)
{
	sigset_t here;
	signals_here(set, &here);
	return posix_spawnattr_setsigdefault(attributes, &here);
}

static int darwin_spawn_setsigmask(posix_spawnattr_t *attributes, const uint32_t *set)
{
	sigset_t here;
	signals_here(set, &here);
	return posix_spawnattr_setsigmask(attributes, &here);
}

/* ---- the rest ---- */

#define DARWIN_RTLD_DEFAULT ((void *)-2) /* dlfcn.h, macOS 26.4 SDK */

EXPORT void *macos_symbol(const char *name);

/* Only ever used to ask whether libSystem has a function. */
static void *darwin_dlsym(void *handle, const char *name)
{
	char with_underscore[256];
	if (handle != DARWIN_RTLD_DEFAULT) {
		fprintf(stderr, "adapters.c: dlsym: no translation for handle %p\n", handle);
		abort();
	}
	snprintf(with_underscore, sizeof with_underscore, "_%s", name);
	return macos_symbol(with_underscore);
}

/* Lazy symbols are all bound at load, so nothing may come here. */
static void stub_binder(void)
{
	fputs("adapters.c: dyld_stub_binder was called\n", stderr);
	abort();
}

static uintptr_t stack_guard = 0x595e9fbd94fda766;

static void stack_check_failed(void)
{
	fputs("adapters.c: stack overflow detected in the dylib\n", stderr);
	abort();
}

/* The checks of _FORTIFY_SOURCE (secure/_string.h, secure/_stdio.h). */
static void *checked_memcpy(void *to, const void *from, size_t size, size_t room)
{
	if (size > room) {
		abort();
	}
	return memcpy(to, from, size);
}

static void *checked_memmove(void *to, const void *from, size_t size, size_t room)
{
	if (size > room) {
		abort();
	}
	return memmove(to, from, size);
}

static void *checked_memset(void *to, int value, size_t size, size_t room)
{
	if (size > room) {
		abort();
	}
	return memset(to, value, size);
}

static int checked_snprintf(char *to, size_t size, int flags, size_t room, const char *format, ...)
{
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

static int checked_vsnprintf(char *to, size_t size, int flags, size_t room, const char *format, va_list arguments)
{
	(void)flags;
	if (size > room) {
		abort();
	}
	return vsnprintf(to, size, format, arguments);
}

#define ADAPTED(name, function) { name, (void *)(function) }
#define SAME(function) { "_" #function, (void *)(function) }

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
	ADAPTED("_dlsym", darwin_dlsym),
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
	SAME(flock), /* LOCK_EX 2, LOCK_NB 4 */
	SAME(free),
	SAME(fsync),
	SAME(ftruncate),
	SAME(malloc),
	SAME(memcmp),
	SAME(memcpy),
	SAME(memmove),
	SAME(memset),
	SAME(munmap),
	SAME(nanosleep),
	SAME(pread),
	SAME(pthread_create), /* a pthread_attr_t that Linux initialised, or NULL */
	SAME(pthread_join),
	SAME(pthread_mutex_destroy),
	SAME(pthread_mutex_init),
	SAME(pthread_self),
	SAME(pwrite),
	SAME(read),
	SAME(snprintf),
	SAME(strcmp),
	SAME(strlen),
	SAME(vsnprintf), /* va_list is one type in the System V ABI */
	SAME(write),
};

/* The address of what a macOS dylib imports as `name` (with its leading underscore), or NULL. */
EXPORT void *macos_symbol(const char *name)
{
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
